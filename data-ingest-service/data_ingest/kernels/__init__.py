"""Plain loops over bytes and columns, compiled by numba: no Python objects inside.

Importing a module here compiles it (or reads it from numba's cache), so nothing compiles while a
request waits. `python -m data_ingest.kernels` compiles all of them, once in an image build.
"""
