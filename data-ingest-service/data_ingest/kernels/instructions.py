"""Machine instructions that numpy has no words for.

With `NUMBA_DISABLE_JIT=1` the three operations have Python bodies.
"""

from typing import Any

import numpy as np

from data_ingest.chassis.jit import JIT, int64, uint64


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
    return (numba_intrinsic(load), numba_intrinsic(multiply(0)), numba_intrinsic(multiply(64)))


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
