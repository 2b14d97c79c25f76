"""The functions that every template of Go has, and the methods of its times. Source: Go's
`text/template/funcs.go`, `time/format.go`.
"""

import html
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import sprint, sprintf, sprintln
from data_api.gotemplate.values import Function, StringMap, go_type


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


def _ordered(compare: Callable[[Any, Any], Any]) -> Function:
    def call(first: object, second: object) -> bool:
        if go_type(first) != go_type(second):
            raise CallFailed("incompatible types for comparison")
        if go_type(first) not in {"int", "float64", "string"}:
            raise CallFailed("invalid type for comparison")
        return bool(compare(first, second))

    return Function(call, ("any", "any"))


def _items(value: object) -> bytes | list[object] | dict[str, object]:
    """What a value consists of: of a text its bytes."""
    if isinstance(value, list | dict):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    raise CallFailed(f"a value of type {go_type(value)} has no items")


def _index(value: object, *indices: object) -> object:
    for index in indices:
        items = _items(value)
        if isinstance(items, dict):
            value = items.get(str(index), "" if isinstance(items, StringMap) else None)
        else:
            value = items[_place(index, len(items) - 1)]
    return value


def _place(index: object, last: int) -> int:
    if not isinstance(index, int) or not 0 <= index <= last:
        raise CallFailed(f"index out of range: {index}")
    return index


def _slice(value: object, *indices: object) -> object:
    items = _items(value)
    if isinstance(items, dict) or len(indices) > 2:
        raise CallFailed(f"can't slice item of type {go_type(value)} by {len(indices)} indexes")
    places = [_place(index, len(items)) for index in indices]
    begin, end = *places, *(0, len(items))[len(places) :]
    part = items[begin:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


_ANY, _TWO = ("any",), ("any", "any")
BUILTINS: Mapping[str, Function] = {
    # The compiler gives these two no argument after the one that decides.
    "and": Function(lambda *values: values[-1], _TWO, variadic=True),
    "or": Function(lambda *values: values[-1], _TWO, variadic=True),
    "not": Function(operator.not_, _ANY),
    "len": Function(lambda value: len(_items(value)), _ANY),
    "index": Function(_index, _TWO, variadic=True),
    "slice": Function(_slice, _TWO, variadic=True),
    "print": Function(lambda *values: sprint(values), _ANY, variadic=True),
    "printf": Function(lambda how, *values: sprintf(how, values), ("string", "any"), variadic=True),
    "println": Function(lambda *values: sprintln(values), _ANY, variadic=True),
    "html": Function(lambda *values: html.escape(sprint(values)), _ANY, variadic=True),
    "urlquery": Function(lambda value: quote_plus(sprint([value]), errors="replace"), _ANY),
    "eq": Function(_eq, ("any", "any", "any"), variadic=True),
    "ne": Function(lambda first, second: not _eq(first, second), _TWO),
    "lt": _ordered(operator.lt),
    "le": _ordered(operator.le),
    "gt": _ordered(operator.gt),
    "ge": _ordered(operator.ge),
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


METHODS: Mapping[type, Mapping[str, Function]] = {
    datetime: {
        "Format": Function(format_time, ("string",)),
        "Unix": Function(lambda time: int(time.timestamp() // 1)),
        "UTC": Function(lambda time: time.astimezone(UTC)),
        "Sub": Function(operator.sub, ("time.Time",)),
    },
    timedelta: {
        "Seconds": Function(timedelta.total_seconds),
        "Minutes": Function(lambda span: span.total_seconds() / 60),
        "Hours": Function(lambda span: span.total_seconds() / 3600),
    },
}
