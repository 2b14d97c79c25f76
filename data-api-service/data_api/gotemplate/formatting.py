"""Values as Go's `fmt` writes them, within a budget of characters. Source: Go's package `fmt`."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from data_api.gotemplate.errors import TemplateTooLarge
from data_api.gotemplate.values import go_type
from data_api.promql.numerals import format_short

OUTPUT_CHARS_MAX = 65_536
WIDTH_MAX = 1000
DEPTH_MAX = 50

_DIRECTIVE = re.compile(r"%([-+ 0]*)([0-9]*)(?:\.([0-9]*))?(.?)", re.DOTALL)


class Directive(NamedTuple):
    """One `%…` of a format; precision: None where none is written."""

    verb: str = "v"
    flags: str = ""
    width: int = 0
    precision: int | None = None


_PLAIN = Directive()


def quote(text: str) -> str:
    """Go's `strconv.Quote`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    codes = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)
    return f'"{"".join(codes)}"'


class Writer:
    """Text that grows up to a bound."""

    def __init__(self, chars_max: int = OUTPUT_CHARS_MAX) -> None:
        self._parts: list[str] = []
        self.left = chars_max

    def add(self, text: str) -> None:
        """`text` is written, or TemplateTooLarge raised."""
        self.left -= len(text)
        if self.left < 0:
            raise TemplateTooLarge(reason="the template writes more text than it may")
        self._parts.append(text)

    def text(self) -> str:
        """All that was written."""
        return "".join(self._parts)

    def value(self, value: object, how: Directive = _PLAIN, depth: int = 0) -> None:
        """A value as a directive wants it, element by element."""
        if depth > DEPTH_MAX:
            raise TemplateTooLarge(reason=f"a value is nested deeper than {DEPTH_MAX}")
        if hasattr(value, "go_text") or not isinstance(value, dict | list | tuple):
            self.add(scalar(value, how))
            return
        opening, closing = ("{", "}") if isinstance(value, tuple) else ("[", "]")
        self.add("map[" if isinstance(value, dict) else opening)
        for index, item in enumerate(sorted(value, key=str) if isinstance(value, dict) else value):
            if index:
                self.add(" ")
            self.value(item, how, depth + 1)
            if isinstance(value, dict):
                self.add(":")
                self.value(value[item], how, depth + 1)
        self.add(closing)


def scalar(value: object, how: Directive) -> str:
    """One value that has no parts, padded. Raises TemplateTooLarge for a width over WIDTH_MAX."""
    verb, flags, width, precision = how
    if max(width, precision or 0) > WIDTH_MAX:
        raise TemplateTooLarge(reason=f"a width or precision is over {WIDTH_MAX}")
    padded = f"%{flags}{width or ''}"
    exact = "" if precision is None else f".{precision}"
    text: str | None = None
    match value:
        case None | bool():
            text = plain(value) if verb == "v" or (value is not None and verb == "t") else None
        case int() if verb in "vdoxXc":
            return f"{padded}{'d' if verb == 'v' else verb}" % value
        case int() if verb == "b":
            text = f"{value:b}"
        case float() if verb == "v" or (verb == "g" and not exact) or not math.isfinite(value):
            text = plain(value) if verb in "veEfFgG" else None
        case float() if verb in "eEfFgG":
            return f"{padded}{exact}{verb}" % value
        case str() | datetime() | timedelta() | list() | dict():
            text = _text(plain(value), verb, precision)
    if text is None:
        return f"%!{verb}({plain(value) if value is None else f'{go_type(value)}={plain(value)}'})"
    return f"{padded}s" % text


def _text(text: str, verb: str, precision: int | None) -> str | None:
    if verb in {"x", "X"}:
        digits = text.encode(errors="replace").hex()
        return digits if verb == "x" else digits.upper()
    text = text[:precision]
    return quote(text) if verb == "q" else text if verb in {"v", "s"} else None


def plain(value: object) -> str:
    """`%v` of a value without parts: what its `String()` gives in Go."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float():
            return format_short(value)
        case datetime():
            fraction = f"{value:.%f}".rstrip("0").rstrip(".")
            return f"{value.year:04d}-{value:%m-%d %H:%M:%S}{fraction} {value:%z %Z}"
        case timedelta():
            return duration_text(value)
    text = getattr(value, "go_text", None)
    return text() if text is not None else str(value)


def duration_text(duration: timedelta) -> str:
    """`1h2m3.5s`, `250ms`, `0s`, as Go writes a time.Duration."""
    micros = abs(duration) // timedelta(microseconds=1)
    sign = "-" if duration < timedelta() else ""
    if 0 < micros < 1_000_000:
        whole = micros >= 1000
        return f"{sign}{format_short(micros / 1000 if whole else micros)}{'ms' if whole else 'µs'}"
    minutes, seconds = divmod(micros / 1_000_000, 60)
    hours, minutes = divmod(int(minutes), 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{f'{seconds:.6f}'.rstrip('0').rstrip('.')}s"


def sprint(values: Sequence[object]) -> str:
    """Go's `fmt.Sprint`: a blank between two values of which neither is a string."""
    writer = Writer()
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            writer.add(" ")
        writer.value(value)
    return writer.text()


def sprintln(values: Iterable[object]) -> str:
    """Go's `fmt.Sprintln`."""
    return " ".join(sprint([value]) for value in values) + "\n"


def sprintf(pattern: str, values: Sequence[object]) -> str:
    """Go's `fmt.Sprintf` with the verbs `v T t d b o x X c e E f F g G s q`, the flags `-+0` and
    blank, width and precision.
    """
    writer = Writer()
    position, used = 0, 0
    for match in _DIRECTIVE.finditer(pattern):
        writer.add(pattern[position : match.start()])
        position = match.end()
        flags, width, precision, verb = match.groups()
        if verb in {"%", ""}:
            writer.add(verb or "%!(NOVERB)")
            continue
        exact = None if precision is None else int(precision[:7] or 0)
        if used >= len(values):
            writer.add(f"%!{verb}(MISSING)")
        elif verb == "T":
            writer.add(go_type(values[used]))
        else:
            writer.value(values[used], Directive(verb, flags, int(width[:7] or 0), exact))
        used += 1
    writer.add(pattern[position:])
    if used < len(values):
        extra = ", ".join(f"{go_type(value)}={sprint([value])}" for value in values[used:])
        writer.add(f"%!(EXTRA {extra})")
    return writer.text()
