"""The one place that meets numba.

`kernel(signature)` compiles at import, or loads what an earlier import left in numba's cache beside
the source (`NUMBA_CACHE_DIR` names another place). Kernels release the GIL, so queries in threads
really run at once, and follow IEEE 754: no fast-math, division by zero gives Inf or NaN.
`NUMBA_DISABLE_JIT=1` runs them as the Python they are.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types

F = TypeVar("F", bound=Callable[..., Any])

float64 = types.float64
int64 = types.int64
boolean = types.boolean
void = types.void
# Readonly, so that views of a store's buffers are taken as they are; writable arrays fit too.
F64S = types.Array(types.float64, 1, "C", readonly=True)
I64S = types.Array(types.int64, 1, "C", readonly=True)
F64_ROWS = types.Array(types.float64, 2, "C", readonly=True)
BOOL_ROWS = types.Array(types.boolean, 2, "C", readonly=True)
OUT_F64 = types.Array(types.float64, 2, "C")
OUT_BOOL = types.Array(types.boolean, 2, "C")
OUT_I64 = types.Array(types.int64, 2, "C")
SCRATCH = types.Array(types.float64, 1, "C")
PAIR = types.UniTuple(types.float64, 2)  # type: ignore[no-untyped-call]


def kernel(signature: Any) -> Callable[[F], F]:
    """Compile the decorated loop for `signature`, cached on disk where a place for it exists."""

    def compiled(function: F) -> F:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        try:
            return numba.njit(signature, cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:
            # Nowhere to keep a cache (a read-only root without one from the build): compile anew.
            return numba.njit(signature, **options)(function)  # type: ignore[no-any-return]

    return compiled
