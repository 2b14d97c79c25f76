"""The one place that meets numba: how a kernel is compiled, and the machine instructions numpy has
no words for.

With `NUMBA_DISABLE_JIT=1` every kernel runs as the Python it is written in; the three operations
that only exist as instructions (`load_u64`, `multiply_low`, `multiply_high`) then have Python
bodies.
"""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

numba: Any = importlib.import_module("numba")
"""As Any: numba's own annotations describe its decorators, not what a kernel accepts."""
types: Any = numba.types
P = ParamSpec("P")
R = TypeVar("R")

JIT = not numba.config.DISABLE_JIT

void, int32, int64, uint8, uint64, float64, boolean = (
    types.void,
    types.int32,
    types.int64,
    types.uint8,
    types.uint64,
    types.float64,
    types.boolean,
)
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
"""Request bodies are read-only; a writable array is accepted as well."""
BYTES_OUT = types.Array(types.uint8, 1, "C")
I64S = types.Array(types.int64, 1, "C")
I64S_IN = types.Array(types.int64, 1, "C", readonly=True)
U64S = types.Array(types.uint64, 1, "C")
U64S_IN = types.Array(types.uint64, 1, "C", readonly=True)
F64S = types.Array(types.float64, 1, "C")
F64S_IN = types.Array(types.float64, 1, "C", readonly=True)
U64_ROWS = types.Array(types.uint64, 2, "C")
U64_ROWS_IN = types.Array(types.uint64, 2, "C", readonly=True)


def kernel(*signatures: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compiled now, for these signatures only; kept in numba's cache; runs without the GIL.

    Where numba has no folder to keep a cache in (a read-only root without NUMBA_CACHE_DIR), the
    kernel is compiled all the same and the start is some seconds slower.
    """

    def compile_now(function: Callable[P, R]) -> Callable[P, R]:
        if not JIT:
            return _wrapping(function)
        options = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
        try:
            compiled = numba.njit(list(signatures), cache=True, **options)(function)
        except RuntimeError as exc:
            if "cannot cache" not in str(exc):
                raise
            compiled = numba.njit(list(signatures), cache=False, **options)(function)
        return cast("Callable[P, R]", compiled)

    return compile_now


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A small step of a kernel: compiled with its caller, for whatever types the caller has."""
    if not JIT:
        return _wrapping(function)
    return cast(
        "Callable[P, R]", numba.njit(nogil=True, boundscheck=False, error_model="numpy")(function)
    )


def _wrapping(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, where integers wrap around silently as compiled ones do."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(over="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(*args, **kwargs)

    return call


def _compiled_instructions() -> tuple[Any, Any, Any]:
    from llvmlite import ir  # noqa: PLC0415 - not needed, and slow to import, without JIT
    from numba.extending import intrinsic  # noqa: PLC0415 - as above

    def load(_typing: Any, buf: Any, _offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array.data, [args[1]])
            wide = builder.bitcast(pointer, ir.IntType(64).as_pointer())
            return builder.load(wide, align=1)

        return uint64(buf, int64), generate

    def multiply(shift: int) -> Any:
        def build(_typing: Any, _a: Any, _b: Any) -> Any:
            def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
                wide = ir.IntType(128)
                product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
                half = builder.lshr(product, ir.Constant(wide, shift))
                return builder.trunc(half, ir.IntType(64))

            return uint64(uint64, uint64), generate

        return build

    numba_intrinsic: Any = intrinsic
    return (
        numba_intrinsic(load),
        numba_intrinsic(multiply(0)),
        numba_intrinsic(multiply(64)),
    )


def _python_instructions() -> tuple[Any, Any, Any]:
    def load(buf: Any, offset: int) -> Any:
        return np.uint64(int.from_bytes(buf[offset : offset + 8].tobytes(), "little"))

    def low(a: Any, b: Any) -> Any:
        return np.uint64((int(a) * int(b)) & 0xFFFF_FFFF_FFFF_FFFF)

    def high(a: Any, b: Any) -> Any:
        return np.uint64((int(a) * int(b)) >> 64)

    return load, low, high


load_u64, multiply_low, multiply_high = _compiled_instructions() if JIT else _python_instructions()
"""`load_u64(buf, offset)`: eight bytes at any offset, little-endian; the caller keeps `offset + 8
<= buf.size`. `multiply_low(a, b)`, `multiply_high(a, b)`: the halves of the 128-bit product."""
