"""The one place that meets numba: how a kernel is compiled, and what arrays its signature may name.

`kernel` compiles at import, or loads what an earlier import left in numba's cache beside the source
(`NUMBA_CACHE_DIR` names another place). With `NUMBA_DISABLE_JIT=1` a kernel runs as the Python it
is written in.

Arrays are contiguous. A plain name is read-only (writable arrays fit too), `_OUT` is written to;
`S` has one dimension, `_ROWS` two.
"""

import functools
import hashlib
import importlib
import pkgutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

# As Any: numba's own annotations describe its decorators, not what a kernel accepts.
numba: Any = importlib.import_module("numba")
types: Any = numba.types
P = ParamSpec("P")
R = TypeVar("R")

JIT = not numba.config.DISABLE_JIT


def _digest() -> str:
    """Of every kernel's text: a step that is inlined may stand in another file than its kernel."""
    door = Path(__file__)
    sources = (door, *sorted(door.parent.parent.rglob("kernels/*.py")))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


DIGEST = _digest()
# By itself numba compares time and size of the kernel's own file, and so runs old steps after an
# update of another one. It has no setting for this; test_jit.py of dis says whether it works.
caching: Any = importlib.import_module("numba.core.caching")
caching._SourceFileBackedLocatorMixin.get_source_stamp = lambda _locator: DIGEST  # noqa: SLF001


def _load_overload(cache: Any, signature: Any, context: Any) -> Any:
    """As numba's own, but what only compiling needs (all that numpy functions are compiled from,
    scipy with it) is not imported: 11 to 19 MiB and 0.2 s of each process; a compile imports it.
    """
    runtime.rtsys.initialize(context)
    return cache._load_overload(signature, context)  # noqa: SLF001


runtime: Any = importlib.import_module("numba.core.runtime")
caching.FunctionCache.load_overload = _load_overload
void, boolean = types.void, types.boolean
uint8, int32, int64, uint64, float64 = (
    types.uint8,
    types.int32,
    types.int64,
    types.uint64,
    types.float64,
)


def _array(element: Any, dimensions: int, *, out: bool = False) -> Any:
    return types.Array(element, dimensions, "C", readonly=not out)


BYTES, BYTES_OUT = _array(uint8, 1), _array(uint8, 1, out=True)
I64S, I64S_OUT = _array(int64, 1), _array(int64, 1, out=True)
U64S, U64S_OUT = _array(uint64, 1), _array(uint64, 1, out=True)
F64S, F64S_OUT = _array(float64, 1), _array(float64, 1, out=True)
I64_ROWS, I64_ROWS_OUT = _array(int64, 2), _array(int64, 2, out=True)
U64_ROWS, U64_ROWS_OUT = _array(uint64, 2), _array(uint64, 2, out=True)
F64_ROWS, F64_ROWS_OUT = _array(float64, 2), _array(float64, 2, out=True)
BOOL_ROWS, BOOL_ROWS_OUT = _array(boolean, 2), _array(boolean, 2, out=True)
F64_PAIR = types.UniTuple(float64, 2)


def kernel(*signatures: Any, **more: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compiled now, for these signatures only; runs without the GIL and follows IEEE 754.

    No fast-math: NaN has a meaning, and division by zero gives Inf or NaN. Where numba has no
    folder to keep a cache in (a read-only root without NUMBA_CACHE_DIR), the kernel is compiled
    all the same and the start is some seconds slower. more: options of numba's.
    """

    def compile_now(function: Callable[P, R]) -> Callable[P, R]:
        if not JIT:
            return _wrapping(function)
        options = {"nogil": True, "boundscheck": False, "error_model": "numpy", **more}
        try:
            compiled = numba.njit(list(signatures), cache=True, **options)(function)
        except RuntimeError as exc:
            if "cannot cache" not in str(exc):
                raise
            compiled = numba.njit(list(signatures), cache=False, **options)(function)
        return cast("Callable[P, R]", compiled)

    return compile_now


def walker(*signatures: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As `kernel`, for one that makes and returns no array, nor does a step of it.

    Then nobody has to count references to its arguments, which otherwise is two atomic instructions
    for each step that is given one: half of the time (benchmarks/bench_decode.py influx, of dis).
    """
    return kernel(*signatures, _nrt=False)


def inlined(function: Callable[P, R], inline: str = "never") -> Callable[P, R]:
    """A small step of a kernel: compiled with its caller, for whatever types the caller has.

    inline: numba's own; "always" copies the step into its caller before LLVM decides, which some
    kernels run faster with, and all compile slower.
    """
    if not JIT:
        return _wrapping(function)
    options = {"nogil": True, "boundscheck": False, "error_model": "numpy", "inline": inline}
    return cast("Callable[P, R]", numba.njit(**options)(function))


def compile_all(package: ModuleType) -> None:
    """Every module of `package` is imported, hence compiled; one line each says how long."""
    for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        if module != "__main__":
            started_s = time.perf_counter()
            importlib.import_module(f"{package.__name__}.{module}")
            sys.stdout.write(f"{module}: {time.perf_counter() - started_s:.2f} s\n")


def _wrapping(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, where integers wrap around silently as compiled ones do."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(*args, **kwargs)

    return call
