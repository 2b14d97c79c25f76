"""A decimal number, mantissa × 10**exponent, as the float64 nearest to it, ties to even.

Where one float operation is exact it is used: a mantissa up to 2**53 and a power of ten up to 22.
Else 128 bits of the power of five decide, which is enough for every mantissa of 64 bits.
Source: Lemire, "Number parsing at a gigabyte per second" (2021); Mushtak and Lemire, "Fast number
parsing without fallback" (2023).
"""

import math
from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import inlined
from data_ingest.kernels.instructions import multiply_high, multiply_low
from data_ingest.model import F64, U64

EXPONENT_MIN: Final = -342
"""Below it every mantissa of 64 bits is nearest to zero."""
EXPONENT_MAX: Final = 308

_EXACT_MAX: Final = np.uint64(1 << 53)
_EXACT_POWER_MAX: Final = 22
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
_HIDDEN_BIT: Final = np.uint64(1 << 52)
_LOW_BITS: Final = np.uint64((1 << 9) - 1)
"""Of the product's high half: what a float64 and its two rounding bits leave over."""


def _powers_of_five() -> U64:
    """(651, 2): high and low half of 5**e from EXPONENT_MIN on, scaled to 128 bits.

    Cut off; the inverse of a power that fits into 64 bits is rounded up, so that a tie stays one.
    """
    powers = []
    for exponent in range(EXPONENT_MIN, EXPONENT_MAX + 1):
        power = 5 ** abs(exponent)
        bits = power.bit_length()
        if exponent >= 0:
            scaled = (power << 128) >> bits
        else:
            scaled = (1 << (bits + 127)) // power + (exponent >= -27)
        powers.append((scaled >> 64, scaled & 0xFFFF_FFFF_FFFF_FFFF))
    return np.array(powers, np.uint64)


POWERS_OF_FIVE: Final = _powers_of_five()
_POWERS_OF_TEN: Final[F64] = np.array([10.0**exponent for exponent in range(23)])


@inlined
def nearest_float(mantissa: Any, exponent: Any) -> Any:
    """The float64 nearest to mantissa × 10**exponent; infinity where it is too large for one.

    mantissa: uint64. exponent: int64.
    """
    if mantissa <= _EXACT_MAX and -_EXACT_POWER_MAX <= exponent <= _EXACT_POWER_MAX:
        value = np.float64(mantissa)
        if exponent < 0:
            return value / _POWERS_OF_TEN[-exponent]
        return value * _POWERS_OF_TEN[exponent]
    if mantissa == np.uint64(0) or exponent < EXPONENT_MIN:
        return 0.0
    if exponent > EXPONENT_MAX:
        return np.inf
    zeros = 0  # leading ones of the mantissa
    shift = 32
    while shift > 0:
        if mantissa >> np.uint64(64 - shift) == np.uint64(0):
            mantissa <<= np.uint64(shift)
            zeros += shift
        shift >>= 1
    row = exponent - EXPONENT_MIN
    high = multiply_high(mantissa, POWERS_OF_FIVE[row, 0])
    low = multiply_low(mantissa, POWERS_OF_FIVE[row, 0])
    if high & _LOW_BITS == _LOW_BITS:  # the rest of the power may carry into what is kept
        more = multiply_high(mantissa, POWERS_OF_FIVE[row, 1])
        low += more
        if more > low:
            high += _ONE
    top = high >> np.uint64(63)
    significand = high >> (top + np.uint64(9))  # 53 bits and one to round by
    # Of the result's last bit: floor(exponent * log2(10)) + …; 217706 / 2**16 is log2(10).
    power = ((217706 * exponent) >> 16) + np.int64(top) - zeros + 11
    if power < -1074:  # a subnormal number has fewer bits
        if power < -1074 - 54:
            return 0.0
        significand >>= np.uint64(-1074 - power)
        power = np.int64(-1074)
    elif (
        low <= _ONE
        and -4 <= exponent <= 23
        and significand & _THREE == _ONE
        and significand << (top + np.uint64(9)) == high
    ):
        significand &= ~_ONE  # exactly half way: to the even one, which is below
    significand = (significand + (significand & _ONE)) >> _ONE
    return math.ldexp(float(significand), int(power))
