"""Compiles every kernel into numba's cache: `python -m data_ingest.kernels`."""

import importlib
import pkgutil
import sys
import time

from data_ingest import kernels


def main() -> int:
    """Every module of this package is imported, hence compiled; one line each says how long it
    took.
    """
    for module in sorted(found.name for found in pkgutil.iter_modules(kernels.__path__)):
        if module == "__main__":
            continue
        started = time.perf_counter()
        importlib.import_module(f"{kernels.__name__}.{module}")
        sys.stdout.write(f"{module}: {time.perf_counter() - started:.2f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
