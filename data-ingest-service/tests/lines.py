"""Line protocol on the wire, slow and obvious: an encoder, and a decoder made of one expression."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

KEY = rb"(?:[^ ,=\n]|(?<=\\)[ ,=])+(?<!\\)="
STRING = rb'"(?:[^"\\]|\\[\s\S])*"'
WORD = rb"t|T|true|True|TRUE|f|F|false|False|FALSE"
NUMBER = rb"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
FIELD = rb"(%b)(?:(%b)|(%b)|(-?[0-9]+i|[0-9]+u)|(%b))" % (KEY, STRING, WORD, NUMBER)
LINE = re.compile(
    rb"[ \t]*+((?!,|\#)(?:[^ \n]|(?<=\\) )+)(?<!\\) [ \t]*+"
    rb"(FIELD(?:,FIELD)*)(?:[ ][ \t]*+(-?[0-9]+)?[ \t]*+)?\r?\n".replace(
        b"FIELD", FIELD.replace(b"(", b"(?:").replace(b"(?:?", b"(?")
    )
)
NO_LINE = re.compile(rb"[ \t]*(?:#[^\n]*|\r?)\n")
RANGES = {b"i": (-(2**63), 2**63 - 1), b"u": (0, 2**64 - 1)}


@dataclass
class Decoded:
    """samples: head, field key, timestamp as it came (None: no timestamp), value."""

    samples: list[tuple[bytes, bytes, int | None, float]] = field(default_factory=list)
    strings: int = 0
    bad_lines: int = 0


def decode(body: bytes) -> Decoded:
    """What a body of lines says."""
    body += b"\n"
    decoded, p = Decoded(), 0
    while p < len(body):
        if blank := NO_LINE.match(body, p):
            p = blank.end()
            continue
        line = LINE.match(body, p)
        if line is None or not add_line(decoded, line):
            decoded.bad_lines += 1
            p = body.index(b"\n", p) + 1
        else:
            p = line.end()
    return decoded


def add_line(decoded: Decoded, line: re.Match[bytes]) -> bool:
    """Whether all its numbers are in their ranges; if so, they are in `decoded`."""
    head, fields, timestamp = line.groups()
    if timestamp is not None and abs(int(timestamp)) >= 2**63:
        return False
    samples, strings = [], 0
    for key, string, word, integer, number in re.findall(FIELD, fields):
        if string:
            strings += 1
            continue
        if word:
            value = float(word in {b"t", b"T", b"true", b"True", b"TRUE"})
        elif integer:
            low, high = RANGES[integer[-1:]]
            if not low <= int(integer[:-1]) <= high:
                return False
            value = float(int(integer[:-1]))
        else:
            value = float(number)
            if abs(value) == float("inf"):
                return False
        at = None if timestamp is None else int(timestamp)
        samples.append((head, key[:-1], at, value))
    decoded.samples += samples
    decoded.strings += strings
    return True


def escaped(text: bytes, delimiters: bytes) -> bytes:
    """A backslash before each of the delimiters."""
    return b"".join(b"\\" + bytes([one]) if one in delimiters else bytes([one]) for one in text)


def line(
    measurement: bytes, tags: Mapping[bytes, bytes], fields: Mapping[bytes, bytes], end: bytes
) -> bytes:
    """One line; field values are written already, `end` is what follows them."""
    head = escaped(measurement, b", ")
    for key, value in tags.items():
        head += b"," + escaped(key, b",= ") + b"=" + escaped(value, b",= ")
    return head + b" " + b",".join(escaped(k, b",= ") + b"=" + v for k, v in fields.items()) + end
