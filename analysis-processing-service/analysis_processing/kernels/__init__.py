"""Plain loops over contiguous float blocks, compiled by numba; `python -m …kernels` compiles all."""
