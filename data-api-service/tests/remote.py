"""remote_read's messages as Prometheus describes them, said plainly: one bit after the other."""

import struct
from collections.abc import Callable, Iterator

import cramjam

SAMPLES, STREAMED_XOR_CHUNKS = 0, 1


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    number %= 2**64
    out = []
    while number > 127:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def part(field: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(field * 8 + 2) + varint(len(content)) + content


def request(*queries: tuple[int, int, list[tuple[int, str, str]]], accepted: bytes = b"") -> bytes:
    """The body for queries of (start, end, [(matcher's type, name, value)]); `accepted` packed."""
    message = b""
    for start_ms, end_ms, matchers in queries:
        query = b"\x08" + varint(start_ms) + b"\x10" + varint(end_ms)
        for kind, name, value in matchers:
            matcher = b"\x08" + varint(kind) if kind else b""
            query += part(3, matcher + part(2, name.encode()) + part(3, value.encode()))
        message += part(1, query)
    return bytes(cramjam.snappy.compress_raw(message + (part(2, accepted) if accepted else b"")))


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """(number, value) of each field; doubles stay eight bytes."""
    out, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = number()
        if tag % 8 == 0:
            out.append((tag // 8, number()))
            continue
        size = 8 if tag % 8 == 1 else number()
        out.append((tag // 8, message[at : at + size]))
        at += size
    return out


def labels_of(message: bytes) -> dict[str, str]:
    """The labels of a series, its fields 1."""
    pairs = [dict(fields(value)) for number, value in fields(message) if number == 1]
    return {pair[1].decode(): pair[2].decode() for pair in pairs}


def of_samples(body: bytes) -> list[list[tuple[dict, list[tuple[int, int]], list[bytes]]]]:
    """Of each query the series: labels, (ms, bits of the value), messages of histograms."""
    results = fields(bytes(cramjam.snappy.decompress_raw(body)))
    return [
        [
            (
                labels_of(series),
                [
                    (signed(dict(fields(one))[2]), int.from_bytes(dict(fields(one))[1], "little"))
                    for number, one in fields(series)
                    if number == 2
                ],
                [one for number, one in fields(series) if number == 4],
            )
            for _, series in fields(result)
        ]
        for _, result in results
    ]


def of_stream(body: bytes) -> list[tuple[int, dict, list[tuple[int, int]]]]:
    """(query, labels, samples) of each frame, whose checksum is right and whose chunks say their
    first and last time.
    """
    out, at = [], 0
    while at < len(body):
        size = shift = 0
        while True:
            byte = body[at]
            at += 1
            size += (byte % 128) << shift
            shift += 7
            if byte < 128:
                break
        checksum, data = body[at : at + 4], body[at + 4 : at + 4 + size]
        at += 4 + size
        assert int.from_bytes(checksum, "big") == castagnoli(data)
        frame = fields(data)
        query = next((value for number, value in frame if number == 2), 0)
        for series in (value for number, value in frame if number == 1):
            samples = []
            for chunk in (dict(fields(v)) for number, v in fields(series) if number == 2):
                decoded = list(xor_samples(chunk[4]))
                assert chunk[3] == 1
                assert (signed(chunk[1]), signed(chunk[2])) == (decoded[0][0], decoded[-1][0])
                samples += decoded
            out.append((query, labels_of(series), samples))
    return out


def castagnoli(data: bytes) -> int:
    """CRC32 by its polynomial, a bit at a time."""
    crc = 2**32 - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc // 2 ^ (0x82F63B78 if crc % 2 else 0)
    return crc ^ 2**32 - 1


def signed(number: int, bits: int = 64) -> int:
    """Two's complement."""
    return number - 2**bits if number >= 2 ** (bits - 1) else number


def xor_samples(data: bytes) -> Iterator[tuple[int, int]]:
    """(ms, bits of the value) of a chunk. Source: Prometheus `tsdb/chunkenc/xor.go`."""
    (count,) = struct.unpack(">H", data[:2])
    text, at = "".join(f"{byte:08b}" for byte in data[2:]), 0

    def take(bits: int) -> int:
        nonlocal at
        at += bits
        assert at <= len(text)
        return int(text[at - bits : at], 2) if bits else 0

    def take_varint() -> int:
        value = shift = 0
        while True:
            byte = take(8)
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    number = take_varint()
    time_ms = number // 2 if number % 2 == 0 else -(number + 1) // 2
    value, step, lead, length = take(64), 0, 0, 0
    for n in range(count):
        if n:
            step = take_varint() if n == 1 else step + step_change(take)
            time_ms += step
            if take(1):
                if take(1):
                    lead, length = take(5), take(6) or 64
                value ^= take(length) << (64 - lead - length)
        yield time_ms, value
    assert len(text) - at < 8


def step_change(take: Callable[[int], int]) -> int:
    """How much longer a step is than the one before."""
    for size in (0, 14, 17, 20):
        if not take(1):
            raw = take(size)
            # The largest change has the sign bit set: 2**(size - 1).
            return raw - 2**size if size and raw > 2 ** (size - 1) else raw
    return signed(take(64))
