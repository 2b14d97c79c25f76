"""Samples as remote_read writes them: Prometheus's XOR chunks, protobuf samples, CRC32-Castagnoli.

    count (2 bytes)  t0 (varint)  v0 (64 bits)  t1-t0 (uvarint)  v1 ^ v0 …  then per sample:
    0 | 10+14 | 110+17 | 1110+20 | 1111+64 bits: the change of the time's step
    0 (same value) | 10 (bits inside the last window) | 11 + 5 leading + 6 length, then the bits

No PromQL: it stands among its kernels because the image compiles all of these.
Source: Prometheus `tsdb/chunkenc/xor.go`.
"""

import numpy as np

from data_api.chassis.jit import BYTES, BYTES_OUT, I64S, inlined, int64, kernel
from data_api.model import I64, U8

CHUNK_SAMPLES = 120  # as Prometheus cuts them
CHUNK_BYTES_MAX = 32 + 19 * CHUNK_SAMPLES
SAMPLE_BYTES_MAX = 22
NO_WINDOW = 255
CASTAGNOLI = 0x82F63B78


def _crc_table() -> I64:
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ CASTAGNOLI, table >> 1)
    return table


CRC_TABLE = _crc_table()


@kernel(int64(BYTES))
def crc32c(data: U8) -> int:
    """The checksum of `data`."""
    crc = 0xFFFFFFFF
    for i in range(data.size):
        crc = CRC_TABLE[(crc ^ int(data[i])) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@inlined
def _put(out: U8, at: int, number: int, bits: int) -> int:
    """The low `bits` of a number, the highest first, from bit `at` on; returns the bit behind."""
    for i in range(bits - 1, -1, -1):
        if (number >> i) & 1:
            out[at >> 3] |= 0x80 >> (at & 7)
        at += 1
    return at


@inlined
def _put_varint(out: U8, at: int, number: int) -> int:
    """An unsigned number, seven bits a byte, from bit `at` on; returns the bit behind."""
    while True:
        rest = (number >> 7) & 0x1FFFFFFFFFFFFFF  # without the sign
        at = _put(out, at, (number & 0x7F) | (0x80 if rest else 0), 8)
        number = rest
        if not rest:
            return at


@inlined
def _put_step_change(out: U8, at: int, change: int) -> int:
    if change == 0:
        return _put(out, at, 0, 1)
    if -8191 <= change <= 8192:
        return _put(out, _put(out, at, 0b10, 2), change, 14)
    if -65535 <= change <= 65536:
        return _put(out, _put(out, at, 0b110, 3), change, 17)
    if -524287 <= change <= 524288:
        return _put(out, _put(out, at, 0b1110, 4), change, 20)
    return _put(out, _put(out, at, 0b1111, 4), change, 64)


@kernel(int64(I64S, I64S, BYTES_OUT))
def xor_chunk(timestamps_ms: I64, value_bits: I64, out: U8) -> int:
    """Bytes of the chunk of up to CHUNK_SAMPLES samples, at least one, in `out`, which is zeroed
    and has CHUNK_BYTES_MAX.
    """
    at = _put(out, 0, timestamps_ms.size, 16)
    at = _put_varint(out, at, (timestamps_ms[0] << 1) ^ (timestamps_ms[0] >> 63))
    at = _put(out, at, value_bits[0], 64)
    step = 0
    window_lead, window_trail = NO_WINDOW, 0
    for i in range(1, timestamps_ms.size):
        step_now = timestamps_ms[i] - timestamps_ms[i - 1]
        if i == 1:
            at = _put_varint(out, at, step_now)
        else:
            at = _put_step_change(out, at, step_now - step)
        step = step_now
        changed = value_bits[i] ^ value_bits[i - 1]
        if changed == 0:
            at = _put(out, at, 0, 1)
            continue
        lead, trail = 0, 0
        while lead < 31 and not (changed >> (63 - lead)) & 1:
            lead += 1
        while not (changed >> trail) & 1:
            trail += 1
        if window_lead != NO_WINDOW and lead >= window_lead and trail >= window_trail:
            at = _put(out, at, 0b10, 2)
        else:
            window_lead, window_trail = lead, trail
            at = _put(out, at, 0b11, 2)
            at = _put(out, at, lead, 5)
            at = _put(out, at, 64 - lead - trail, 6)  # of 64 the low six bits: 0
        at = _put(out, at, changed >> window_trail, 64 - window_lead - window_trail)
    return (at + 7) >> 3


@kernel(int64(I64S, I64S, BYTES_OUT))
def sample_messages(timestamps_ms: I64, value_bits: I64, out: U8) -> int:
    """Bytes of the samples as fields 2 of a TimeSeries, in `out`, which is zeroed and has
    SAMPLE_BYTES_MAX a sample.
    """
    at = 0
    for i in range(timestamps_ms.size):
        out[at] = 0x12
        out[at + 2] = 0x09
        for byte in range(8):
            out[at + 3 + byte] = (value_bits[i] >> (8 * byte)) & 0xFF
        out[at + 11] = 0x10
        end = _put_varint(out, (at + 12) * 8, timestamps_ms[i]) >> 3
        out[at + 1] = end - at - 2
        at = end
    return at
