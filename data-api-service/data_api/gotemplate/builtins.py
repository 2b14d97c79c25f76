"""The functions that every template of Go has, and the methods of its times. Source: Go's
`text/template/funcs.go`, `time/format.go`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import go_type, plain, sprint, sprintf, sprintln
from data_api.gotemplate.values import Function, StringMap, truth

_HTML = {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}


def _kind(value: object) -> str:
    name = go_type(value)
    return name if name in {"bool", "int", "float64", "string"} else ""


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise CallFailed("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
            continue
        if _kind(first) != _kind(other):
            raise CallFailed("incompatible types for comparison")
        if isinstance(first, list | dict | tuple):
            raise CallFailed(f"non-comparable type {plain(first)}: {go_type(first)}")
        if first == other:
            return True
    return False


def _lt(first: object, second: object) -> bool:
    if not _kind(first) or not _kind(second):
        raise CallFailed("invalid type for comparison")
    if _kind(first) != _kind(second):
        raise CallFailed("incompatible types for comparison")
    match first, second:
        case bool(), _:
            raise CallFailed("invalid type for comparison")
        case str(), str():
            return first.encode(errors="replace") < second.encode(errors="replace")
        case ((int() | float()), (int() | float())):
            return first < second
    raise AssertionError(first)


def _le(first: object, second: object) -> bool:
    return _lt(first, second) or _eq(first, second)


def _length(value: object) -> int:
    if value is None:
        raise CallFailed("len of nil pointer")
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, list | tuple | dict):
        return len(value)
    raise CallFailed(f"len of type {go_type(value)}")


def _index(value: object, *indices: object) -> object:
    for index in indices:
        if value is None:
            raise CallFailed("index of untyped nil")
        if isinstance(value, dict):
            if not isinstance(index, str):
                raise CallFailed(f"value has type {go_type(index)}; should be string")
            value = value.get(index, "" if isinstance(value, StringMap) else None)
        elif isinstance(value, list | tuple | str):
            items = value.encode(errors="replace") if isinstance(value, str) else value
            value = items[_place(index, len(items) - 1)]
        else:
            raise CallFailed(f"can't index item of type {go_type(value)}")
    return value


def _place(index: object, last: int) -> int:
    if not isinstance(index, int) or isinstance(index, bool):
        raise CallFailed(f"cannot index slice/array with type {go_type(index)}")
    if not 0 <= index <= last:
        raise CallFailed(f"index out of range: {index}")
    return index


def _slice(value: object, *indices: object) -> object:
    if len(indices) > (2 if isinstance(value, str) else 3):
        raise CallFailed(f"too many slice indexes: {len(indices)}")
    if not isinstance(value, list | tuple | str):
        raise CallFailed(f"can't slice item of type {go_type(value)}")
    items = value.encode(errors="replace") if isinstance(value, str) else value
    places = [_place(index, len(items)) for index in indices]
    begin, end = (*places, 0)[0], (*places, 0, len(items))[1] if len(places) > 1 else len(items)
    if begin > end:
        raise CallFailed(f"invalid slice index: {begin} > {end}")
    part = items[begin:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _escaped(escape: Callable[[str], str]) -> Callable[..., str]:
    def call(*values: object) -> str:
        return escape(sprint(["<no value>" if one is None else one for one in values]))

    return call


_ANY, _TWO = ("any",), ("any", "any")
BUILTINS: Mapping[str, Function] = {
    "and": Function(truth, _TWO, variadic=True),
    "or": Function(truth, _TWO, variadic=True),
    "not": Function(lambda value: not truth(value), _ANY),
    "len": Function(_length, _ANY),
    "index": Function(_index, _TWO, variadic=True),
    "slice": Function(_slice, _TWO, variadic=True),
    "print": Function(lambda *values: sprint(values), _ANY, variadic=True),
    "printf": Function(lambda how, *values: sprintf(how, values), ("string", "any"), variadic=True),
    "println": Function(lambda *values: sprintln(values), _ANY, variadic=True),
    "html": Function(
        _escaped(lambda text: "".join(_HTML.get(c, c) for c in text)), _ANY, variadic=True
    ),
    "urlquery": Function(
        _escaped(lambda text: quote_plus(text, errors="replace")), _ANY, variadic=True
    ),
    "eq": Function(_eq, _TWO, variadic=True),
    "ne": Function(lambda first, second: not _eq(first, second), _TWO),
    "lt": Function(_lt, _TWO),
    "le": Function(_le, _TWO),
    "gt": Function(lambda first, second: not _le(first, second), _TWO),
    "ge": Function(lambda first, second: not _lt(first, second), _TWO),
}

# Go's layouts are examples of one moment: Mon Jan 2 15:04:05 2006 MST.
_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|-07:00|-0700|Z07:00|_2|01|02|03|04|05|06|15|PM|pm"
    r"|[.,](?:0+|9+)(?![0-9])|[1-5]"
)


def _layout_part(time: datetime, part: str) -> str:
    hour = time.hour % 12 or 12
    offset = time.strftime("%z") or "+0000"
    colon = f"{offset[:3]}:{offset[3:5]}"
    if part[0] in ".," and len(part) > 1:
        digits = f"{time.microsecond:06d}000"[: len(part) - 1].ljust(len(part) - 1, "0")
        if part[1] == "0":
            return part[0] + digits
        return part[0] + digits.rstrip("0") if digits.rstrip("0") else ""
    return {
        "January": f"{time:%B}", "Jan": f"{time:%b}", "Monday": f"{time:%A}", "Mon": f"{time:%a}",
        "MST": f"{time:%Z}", "2006": f"{time.year:04d}", "06": f"{time:%y}",
        "-07:00": colon, "-0700": offset, "Z07:00": "Z" if offset == "+0000" else colon,
        "01": f"{time:%m}", "1": str(time.month), "02": f"{time:%d}", "2": str(time.day),
        "_2": f"{time.day:2d}", "15": f"{time:%H}", "03": f"{hour:02d}", "3": str(hour),
        "04": f"{time:%M}", "4": str(time.minute), "05": f"{time:%S}", "5": str(time.second),
        "PM": f"{time:%p}", "pm": f"{time:%p}".lower(),
    }[part]  # fmt: skip


def format_time(time: datetime, layout: str) -> str:
    """Go's `time.Time.Format`."""
    return _LAYOUT.sub(lambda match: _layout_part(time, match.group()), layout)


MEMBERS: Mapping[type, Mapping[str, Function]] = {
    datetime: {
        "Format": Function(format_time, ("string",)),
        "Unix": Function(lambda time: int(time.timestamp() // 1)),
        "UTC": Function(lambda time: time.astimezone(UTC)),
        "Sub": Function(lambda time, other: time - other, ("time.Time",)),
        "Before": Function(lambda time, other: time < other, ("time.Time",)),
        "After": Function(lambda time, other: time > other, ("time.Time",)),
        "String": Function(plain),
    },
    timedelta: {
        "Seconds": Function(timedelta.total_seconds),
        "Minutes": Function(lambda span: span.total_seconds() / 60),
        "Hours": Function(lambda span: span.total_seconds() / 3600),
        "String": Function(plain),
    },
}
