"""Plain loops over contiguous blocks, compiled by numba; `python -m …kernels` compiles all."""
