"""`python -m data_api.store.kernels`: every kernel is compiled into numba's cache."""

from data_api.chassis.jit import compile_all
from data_api.store import kernels

if __name__ == "__main__":
    compile_all(kernels)
