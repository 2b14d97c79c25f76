"""`python -m data_ingest.kernels`: every kernel is compiled into numba's cache."""

from data_ingest import kernels
from data_ingest.chassis.jit import compile_all

if __name__ == "__main__":
    compile_all(kernels)
