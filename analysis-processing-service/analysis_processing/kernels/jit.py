"""The one place that meets numba: how a kernel of this package is compiled.

Kernels release the GIL, are compiled from an explicit signature when their module is imported, and
are cached beside their source. Where nothing is writable (a read-only image without a
`NUMBA_CACHE_DIR`) the kernel still compiles, a few seconds later.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(signature: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that compiles a plain loop to machine code with this signature.

    fastmath stays off: NaN has a meaning here, and the same bits must come out of every chunking.
    """

    def compiled(function: Callable[P, R]) -> Callable[P, R]:
        options: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
        try:
            made = numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # numba: "no locator available": no writable cache folder
            made = numba.njit(signature, **options)(function)
        return cast("Callable[P, R]", made)

    return compiled
