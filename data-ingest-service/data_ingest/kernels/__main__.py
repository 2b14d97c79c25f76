"""Compiles every kernel into numba's cache: `python -m data_ingest.kernels`."""

import importlib
import pkgutil
import sys
import time

from data_ingest import kernels


def main() -> int:
    """Import every module of this package, which compiles it; print the seconds each took."""
    for name in sorted(module.name for module in pkgutil.iter_modules(kernels.__path__)):
        if name == "__main__":
            continue
        started_s = time.perf_counter()
        importlib.import_module(f"{kernels.__name__}.{name}")
        sys.stdout.write(f"{name}: {time.perf_counter() - started_s:.2f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
