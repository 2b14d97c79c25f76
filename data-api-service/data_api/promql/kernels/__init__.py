"""Plain loops over sample columns, compiled by numba.

Importing the package costs nothing; the first query that needs a kernel imports its module, and
numba with it (figures in docs/adr/0005-promql-engine.md). `python -m data_api.promql.kernels`
compiles all of them into numba's cache, which the image build does.
"""
