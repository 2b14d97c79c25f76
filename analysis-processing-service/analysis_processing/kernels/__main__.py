"""`python -m analysis_processing.kernels`: every kernel is compiled into numba's cache."""

from analysis_processing import kernels
from analysis_processing.chassis.jit import compile_all

if __name__ == "__main__":
    compile_all(kernels)
