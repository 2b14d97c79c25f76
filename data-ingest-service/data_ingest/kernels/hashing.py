"""Two 64-bit lanes over raw label bytes: the cache key of a series.

    for each 16 bytes (a, b):   lane0 = fold(a ^ key0,  b ^ lane0)
                                lane1 = fold(a ^ lane1, b ^ key1)
    fold(x, y) = high half ^ low half of the 128-bit product x * y

The key decides nothing that is stored: the identity of a series is `labels_hash`
(docs/contracts.md, section 3). The seed is drawn once a process and all of it is secret, so nobody
outside can prepare colliding label sets (a block equal to a known constant would wipe a lane).

Source: the structure of wyhash (public domain); docs/adr/0001-metric-store.md.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_ingest.chassis.jit import BYTES, I64S, U64_ROWS_OUT, U64S, inlined, void, walker
from data_ingest.kernels.instructions import load_u64, multiply_high, multiply_low
from data_ingest.model import I64, U8, U64

SPARE_BYTES = 32
"""A buffer that is walked or hashed has this many readable bytes after its end: loads are wide."""

_SECRET = secrets.token_bytes(32)
_SALT = np.uint64(0x8EBC6AF09C88C6E3)
_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def seed_for(purpose: bytes) -> U64:
    """This process's seed for one kind of bytes: a protocol, or one scrape target's series.

    Returns (4,) uint64: the first value of both lanes, then both keys. Equal bytes of different
    purposes have different hashes.
    """
    digest = hashlib.blake2b(purpose, digest_size=32, key=_SECRET).digest()
    return np.frombuffer(digest, "<u8").copy()


@inlined
def fold(a: Any, b: Any) -> Any:
    """High half ^ low half of the 128-bit product."""
    return multiply_high(a, b) ^ multiply_low(a, b)


@inlined
def hash_step(  # noqa: PLR0917 - compiled by position
    buf: Any, start: Any, end: Any, lane0: Any, lane1: Any, key0: Any, key1: Any
) -> Any:
    """Both lanes after hashing the bytes [start, end) and their number.

    Reads, and does not use, up to 7 bytes past `end`.
    """
    length = np.uint64(end - start)
    i = start
    while end - i >= 16:
        a = load_u64(buf, i)
        b = load_u64(buf, i + 8)
        lane0 = fold(a ^ key0, b ^ lane0)
        lane1 = fold(a ^ lane1, b ^ key1)
        i += 16
    left = end - i
    a = np.uint64(0)
    b = np.uint64(0)
    if left >= 8:
        a = load_u64(buf, i)
        if left > 8:
            b = load_u64(buf, i + 8) & (_ONES >> np.uint64(8 * (16 - left)))
    elif left > 0:
        a = load_u64(buf, i) & (_ONES >> np.uint64(8 * (8 - left)))
    lane0 = fold(a ^ key0 ^ length, b ^ lane0 ^ _SALT)
    lane1 = fold(a ^ lane1 ^ _SALT, b ^ key1 ^ length)
    return lane0, lane1


@walker(void(BYTES, I64S, U64S, U64_ROWS_OUT))
def _hash_rows(buf: U8, ends: I64, seed: U64, out: U64) -> None:
    start = np.int64(0)
    for i in range(ends.size):
        out[i, 0], out[i, 1] = hash_step(buf, start, ends[i], seed[0], seed[1], seed[2], seed[3])
        start = ends[i]


def hash_texts(texts: Sequence[bytes], seed: U64) -> U64:
    """The keys of n label sets' bytes, (n, 2) uint64; copies them."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    out = np.empty((len(texts), 2), np.uint64)
    _hash_rows(np.frombuffer(b"".join((*texts, bytes(SPARE_BYTES))), np.uint8), ends, seed, out)
    return out


def hash_bytes(data: bytes, seed: U64) -> U64:
    """The key of one label set's bytes, (2,) uint64."""
    key: U64 = hash_texts([data], seed)[0]
    return key
