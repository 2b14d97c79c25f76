"""The functions that every template of Go has, and the methods of its times. Source: Go's
`text/template/funcs.go`, `time/format.go`.
"""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import go_type, plain, sprint, sprintf, sprintln
from data_api.gotemplate.values import Function, StringMap, truth


def _eq(first: object, *others: object) -> bool:
    for other in others:
        # Lists and maps may be graphs, whose comparison would take for ever.
        if isinstance(first, list | dict | tuple):
            raise CallFailed(f"non-comparable type {go_type(first)}")
        if first is not None and other is not None and go_type(first) != go_type(other):
            raise CallFailed("incompatible types for comparison")
        if first == other:
            return True
    return False


def _lt(first: object, second: object) -> bool:
    if go_type(first) != go_type(second):
        raise CallFailed("incompatible types for comparison")
    match first, second:
        case str(), str():
            return first.encode(errors="replace") < second.encode(errors="replace")
        case ((int() | float()), (int() | float())) if not isinstance(first, bool):
            return first < second
    raise CallFailed("invalid type for comparison")


def _le(first: object, second: object) -> bool:
    return _lt(first, second) or _eq(first, second)


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, list | dict):
        return len(value)
    raise CallFailed(f"len of type {go_type(value)}")


def _index(value: object, *indices: object) -> object:
    for index in indices:
        if isinstance(value, dict):
            if not isinstance(index, str):
                raise CallFailed(f"value has type {go_type(index)}; should be string")
            value = value.get(index, "" if isinstance(value, StringMap) else None)
        elif isinstance(value, list | str):
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
    if not isinstance(value, list | str) or len(indices) > 2:
        raise CallFailed(f"can't slice item of type {go_type(value)} by {len(indices)} indexes")
    items = value.encode(errors="replace") if isinstance(value, str) else value
    begin, end = (*(_place(index, len(items)) for index in indices), 0, len(items))[:2]
    end = len(items) if len(indices) < 2 else end
    if begin > end:
        raise CallFailed(f"invalid slice index: {begin} > {end}")
    part = items[begin:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


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
    "html": Function(lambda *values: html.escape(sprint(values)), _ANY, variadic=True),
    "urlquery": Function(
        lambda *values: quote_plus(sprint(values), errors="replace"), _ANY, variadic=True
    ),
    "eq": Function(_eq, ("any", "any", "any"), variadic=True),
    "ne": Function(lambda first, second: not _eq(first, second), _TWO),
    "lt": Function(_lt, _TWO),
    "le": Function(_le, _TWO),
    "gt": Function(lambda first, second: not _le(first, second), _TWO),
    "ge": Function(lambda first, second: not _lt(first, second), _TWO),
}

# Go's layouts are examples of one moment, Mon Jan 2 15:04:05 2006 MST; here as strftime's codes.
# A part of one character has no zeros before it.
_CODES = {
    "January": "%B", "Jan": "%b", "Monday": "%A", "Mon": "%a", "MST": "%Z", "06": "%y",
    "-0700": "%z", "_2": "%e", "01": "%m", "02": "%d", "15": "%H", "03": "%I", "04": "%M",
    "05": "%S", "PM": "%p", "1": "%m", "2": "%d", "3": "%I", "4": "%M", "5": "%S",
}  # fmt: skip
_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|-07:00|-0700|Z07:00|_2|01|02|03|04|05|06|15|PM"
    r"|\.0+(?![0-9])|[1-5]"
)


def _layout_part(time: datetime, part: str) -> str:
    if part == "2006":
        return f"{time.year:04d}"
    if part[0] == ".":
        return f".{time.microsecond:06d}"[: len(part)].ljust(len(part), "0")
    if part in {"-07:00", "Z07:00"}:
        offset = time.strftime("%z") or "+0000"
        return "Z" if part[0] == "Z" and offset == "+0000" else f"{offset[:3]}:{offset[3:5]}"
    text = time.strftime(_CODES[part])
    return text.lstrip("0") or "0" if len(part) == 1 else text


def format_time(time: datetime, layout: str) -> str:
    """Go's `time.Time.Format`."""
    return _LAYOUT.sub(lambda match: _layout_part(time, match.group()), layout)


_TIME = ("time.Time",)
MEMBERS: Mapping[type, Mapping[str, Function]] = {
    datetime: {
        "Format": Function(format_time, ("string",)),
        "Unix": Function(lambda time: int(time.timestamp() // 1)),
        "UTC": Function(lambda time: time.astimezone(UTC)),
        "Sub": Function(lambda time, other: time - other, _TIME),
        "Before": Function(lambda time, other: time < other, _TIME),
        "After": Function(lambda time, other: time > other, _TIME),
        "String": Function(plain),
    },
    timedelta: {
        "Seconds": Function(timedelta.total_seconds),
        "Minutes": Function(lambda span: span.total_seconds() / 60),
        "Hours": Function(lambda span: span.total_seconds() / 3600),
        "String": Function(plain),
    },
}
