"""Values as Go's `fmt` writes them, within a budget of characters. Source: Go's packages `fmt`,
`strconv`.

Go's types are Python's: bool, int, float64 → float, string → str, nil → None, slices → list,
maps → dict, time.Time → datetime, time.Duration → timedelta; others name theirs in `go_type`.
"""

import ast
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from data_api.gotemplate.errors import CallFailed, TemplateTooLarge

OUTPUT_CHARS_MAX = 65_536
DEPTH_MAX = 50

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {"\v": "\\v", "\\": "\\\\"}
_UNESCAPED = re.compile(
    r"\\(?:[abfnrtv\\'\"]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|[^\\]"
)
_DIRECTIVE = re.compile(r"%([-+# 0]*)(\*|[0-9]*)(?:\.(\*|[0-9]*))?(.?)", re.DOTALL)
_GO_TYPES = {
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    type(None): "<nil>",
    dict: "map[string]interface {}",
    datetime: "time.Time",
    timedelta: "time.Duration",
}


@dataclass(frozen=True, slots=True)
class Directive:
    """One `%…` of a format; precision: None where none is written."""

    verb: str = "v"
    flags: str = ""
    width: int = 0
    precision: int | None = None


def quote(text: str, mark: str = '"') -> str:
    """Go's `strconv.Quote`."""
    return f"{mark}{''.join(_quoted(char, mark) for char in text)}{mark}"


def _quoted(char: str, mark: str) -> str:
    if char == mark or char in _ESCAPES:
        return _ESCAPES.get(char, f"\\{char}")
    if char.isprintable():
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x80
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def unquote(text: str) -> str:
    """What a literal of Go in `"`, a backquote or `'` stands for; raises CallFailed."""
    mark, inner = text[0], text[1:-1]
    if mark == "`":
        return inner.replace("\r", "")
    parts = _UNESCAPED.findall(inner)
    other = "\\'" if mark == '"' else '\\"'
    if "".join(parts) != inner or other in parts or (mark == "'" and len(parts) != 1):
        raise CallFailed("invalid syntax")
    try:
        return "".join(_unescaped(part) for part in parts)
    except (SyntaxError, ValueError):
        raise CallFailed("invalid syntax") from None


def _unescaped(part: str) -> str:
    # Python's escapes are Go's where `_UNESCAPED` matched; only lone surrogates are refused here.
    char = str(ast.literal_eval(f"'{part}'")) if part[0] == "\\" else part
    char.encode()
    return char


def go_type(value: object) -> str:
    """The name of a value's type in messages and of `%T`."""
    if (name := getattr(value, "go_type", None)) is not None:
        return str(name)
    if isinstance(value, list | tuple):
        texts = value and all(isinstance(one, str) for one in value)
        return "[]string" if texts else "[]interface {}"
    return _GO_TYPES.get(type(value), type(value).__name__)


def shortest(value: float, *, exponent: bool = False) -> str:
    """Go's `%g` without a precision: an exponent below 1e-4 and from 1e6 on, or always."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    exact = Decimal(repr(value)).normalize() if value else Decimal(repr(value)).to_integral()
    power = exact.adjusted()
    if not exponent and (-4 <= power < 6 or not value):
        return f"{exact:f}"
    sign, digits, _ = exact.as_tuple()
    first, *rest = map(str, digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' * sign}{first}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"


class Writer:
    """Text that grows up to a bound."""

    def __init__(self, chars_max: int = OUTPUT_CHARS_MAX) -> None:
        self._parts: list[str] = []
        self.left = chars_max

    def add(self, text: str) -> None:
        """`text` is written, or TemplateTooLarge raised."""
        self.reserve(len(text))
        self._parts.append(text)

    def reserve(self, chars: int) -> None:
        """So many characters are spent."""
        self.left -= chars
        if self.left < 0:
            raise TemplateTooLarge(reason="the template writes more text than it may")

    def text(self) -> str:
        """All that was written."""
        return "".join(self._parts)

    def value(self, value: object, how: Directive = Directive(), depth: int = 0) -> None:
        """A value as a directive wants it, element by element."""
        if depth > DEPTH_MAX:
            raise TemplateTooLarge(reason=f"a value is nested deeper than {DEPTH_MAX}")
        if (fields := getattr(value, "go_fields", None)) is not None:
            pointer = go_type(value).startswith("*") and not depth
            self._list("&{" if pointer else "{", fields(), how, depth)
        elif hasattr(value, "go_text"):
            self.add(scalar(value, how, self))
        elif isinstance(value, dict):
            self._list("map[", sorted(value, key=str), how, depth, value)
        elif isinstance(value, list | tuple):
            self._list("[", value, how, depth)
        else:
            self.add(scalar(value, how, self))

    def _list(
        self,
        opening: str,
        items: Sequence[object],
        how: Directive,
        depth: int,
        values: dict[object, object] | None = None,
    ) -> None:
        self.add(opening)
        for index, item in enumerate(items):
            if index:
                self.add(" ")
            self.value(item, how, depth + 1)
            if values is not None:
                self.add(":")
                self.value(values[item], how, depth + 1)
        self.add("}" if "{" in opening else "]")


def scalar(value: object, how: Directive, writer: Writer) -> str:
    """One value that has no parts, padded."""
    width, precision = how.width, how.precision
    writer.reserve(0 if max(width, precision or 0) <= 1000 else OUTPUT_CHARS_MAX + 1)
    text: str | None
    match value:
        case bool():
            text = str(value).lower() if how.verb in "tv" else None
        case int():
            text = _integer(value, how)
        case float():
            text = _float(value, how)
        case None:
            text = "<nil>" if how.verb == "v" else None
        case _:
            text = _string(plain(value), how)
    if text is None:
        shown = "<nil>" if value is None else f"{go_type(value)}={plain(value)}"
        return f"%!{how.verb}({shown})"
    if len(text) >= width:
        return text
    if "-" in how.flags:
        return text.ljust(width)
    is_exact = isinstance(value, int) and precision is not None
    if "0" in how.flags and not is_exact and text[-3:] not in {"Inf", "NaN"}:
        sign = text[0] if isinstance(value, int | float) and text[0] in "+- " else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _integer(value: int, how: Directive) -> str | None:
    verb, sharp = how.verb, "#" in how.flags
    if verb in {"c", "q", "U"}:
        if not 0 <= value <= 0x10FFFF or 0xD800 <= value < 0xE000:
            value = 0xFFFD
        return {"c": chr(value), "q": quote(chr(value), "'"), "U": f"U+{value:04X}"}[verb]
    base = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}.get(verb)
    if base is None:
        return None
    prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(base, "") if sharp else ""
    digits = format(abs(value), base).rjust(how.precision or 0, "0")
    digits = "" if how.precision == value == 0 else digits
    return _sign(value < 0, how) + ("0o" if verb == "O" else prefix) + digits


def _sign(negative: bool, how: Directive) -> str:
    return "-" if negative else "+" if "+" in how.flags else " " if " " in how.flags else ""


def _float(value: float, how: Directive) -> str | None:
    verb = {"v": "g", "F": "f"}.get(how.verb, how.verb)
    if verb not in {"e", "E", "f", "g", "G"}:
        return None
    size = abs(value)
    if not math.isfinite(value):
        text = shortest(value)
        return f"+{text}" if text == "NaN" and "+" in how.flags else text
    if verb in {"g", "G"} and how.precision is None:
        text = shortest(size)
        text = text.upper() if verb == "G" else text
    else:
        precision = 6 if how.precision is None else how.precision
        text = f"{size:{'#' if '#' in how.flags else ''}.{precision}{verb}}"
    return _sign(math.copysign(1, value) < 0, how) + text


def _string(text: str, how: Directive) -> str | None:
    if how.verb in {"x", "X"}:
        octets = text.encode(errors="replace")[: how.precision]
        digits = octets.hex(*(" ",) if " " in how.flags else ())
        return digits if how.verb == "x" else digits.upper()
    text = text[: how.precision]
    if how.verb == "q":
        raw = "#" in how.flags and "`" not in text and text.isprintable()
        return f"`{text}`" if raw else quote(text)
    return text if how.verb in {"v", "s"} else None


def plain(value: object) -> str:
    """`%v` of a value without parts: what its `String()` gives in Go."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float():
            return shortest(value)
        case datetime():
            fraction = f"{value:.%f}".rstrip("0").rstrip(".")
            return f"{value.year:04d}-{value:%m-%d %H:%M:%S}{fraction} {value:%z %Z}"
        case timedelta():
            return duration_text(value)
    text = getattr(value, "go_text", None)
    return text() if text is not None else str(value)


def duration_text(duration: timedelta) -> str:
    """`1h2m3.5s`, `250ms`, `0s`, as Go writes a time.Duration."""
    micros = duration // timedelta(microseconds=1)
    sign, micros = "-" if micros < 0 else "", abs(micros)
    if micros < 1_000_000:
        whole = micros >= 1000
        unit = "ms" if whole else "µs" if micros else "s"
        return f"{sign}{shortest(micros / 1000 if whole else micros)}{unit}"
    seconds, rest = divmod(micros, 1_000_000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{seconds}{fraction}s"


def sprint(values: Sequence[object], chars_max: int = OUTPUT_CHARS_MAX) -> str:
    """Go's `fmt.Sprint`: a blank between two values of which neither is a string."""
    writer = Writer(chars_max)
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            writer.add(" ")
        writer.value(value)
    return writer.text()


def sprintln(values: Iterable[object]) -> str:
    """Go's `fmt.Sprintln`."""
    writer = Writer()
    for index, value in enumerate(values):
        if index:
            writer.add(" ")
        writer.value(value)
    writer.add("\n")
    return writer.text()


def _number(written: str | None, starred: Iterator[object]) -> int | None:
    """A width or a precision, which `*` takes from the values."""
    if written != "*":
        return None if written is None else int(written[:7] or 0)
    value = next(starred, None)
    return value if isinstance(value, int) else 0


def sprintf(pattern: str, values: Sequence[object]) -> str:
    """Go's `fmt.Sprintf`, but for `%[n]d`, `%p` and complex numbers."""
    writer = Writer()
    position, used = 0, 0
    for match in _DIRECTIVE.finditer(pattern):
        writer.add(pattern[position : match.start()])
        position = match.end()
        flags, width, precision, verb = match.groups()
        how = Directive(verb, flags)
        if verb == "%":
            writer.add("%")
            continue
        if not verb:
            writer.add("%!(NOVERB)")
            continue
        starred = iter(values[used:])
        wide, exact = _number(width, starred) or 0, _number(precision, starred)
        used += (width == "*") + (precision == "*")
        if exact is not None and exact < 0:
            writer.add("%!(BADPREC)")
            exact = None
        how = replace(
            how, width=abs(wide), precision=exact, flags=flags + ("-" if wide < 0 else "")
        )
        if used >= len(values):
            writer.add(f"%!{verb}(MISSING)")
        elif verb == "T":
            writer.add(go_type(values[used]))
        else:
            writer.value(values[used], how)
        used += 1
    writer.add(pattern[position:])
    if used < len(values):
        writer.add("%!(EXTRA ")
        for index, value in enumerate(values[used:]):
            writer.add(f"{', ' * bool(index)}{go_type(value)}=")
            writer.value(value)
        writer.add(")")
    return writer.text()
