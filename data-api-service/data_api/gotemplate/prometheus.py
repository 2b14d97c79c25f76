"""What templates of alerting rules call and see. Source: Prometheus's `template/template.go`,
`rules/alerting.go`.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote_plus, urlsplit

import re2

from data_api.gotemplate import durations
from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import Directive, quote, scalar, sprint
from data_api.gotemplate.values import Function, StringMap, go_type

QUERIES_MAX = 20  # of one template
_PATTERN_BYTES_MAX = 2**20  # of memory, compiled
_PATTERN_SHARE = 8  # instructions of a pattern over one character cost as much as reading it

_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)
_HOST_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*))(:[^\[\]:]*)")


class Sample(NamedTuple):
    """One series of a query's answer."""

    Labels: StringMap
    Value: float

    @property
    def go_type(self) -> str:
        """As messages name it."""
        return "*template.sample"


class QueryResult(list[Sample]):
    """What `query` answers."""

    go_type = "template.queryResult"

    @classmethod
    def of(cls, vector: Sequence[tuple[Mapping[str, str], float]]) -> "QueryResult":
        """The series of a vector."""
        return cls(Sample(StringMap(labels), value) for labels, value in vector)


class AlertData(NamedTuple):
    """What `.` is in a template of an alerting rule."""

    Labels: StringMap
    ExternalLabels: StringMap
    ExternalURL: str
    Value: float


Query = Callable[[str], QueryResult]
Spend = Callable[[int], None]
"""Told of work that costs as much as reading so many characters; raises when it is too much."""


def _float(value: object) -> float:
    """A number, a duration in seconds, or what a text says; else CallFailed."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and not _FLOAT.fullmatch(value):
        raise CallFailed(f"strconv.ParseFloat: parsing {quote(value)}: invalid syntax")
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise CallFailed(f"can't convert {go_type(value)} to float")
    return float(value)


def _four(value: float) -> str:
    return scalar(value, Directive("g", precision=4))


def _scaled(value: float, base: int, prefixes: Sequence[str]) -> str:
    """With the prefix that leaves the smallest number of 1 and more; below 1 by 1000ths."""
    prefix = ""
    for one in prefixes if abs(value) >= 1 else ():
        if abs(value) < base:
            break
        prefix, value = one, value / base
    for one in "munpfazy":
        if abs(value) >= 1:
            break
        prefix, value = one, value * 1000
    return f"{_four(value)}{prefix}"


def _humanize(argument: object) -> str:
    """`1.235M`, `120m`."""
    value = _float(argument)
    return _scaled(value, 1000, "kMGTPEZY") if value and math.isfinite(value) else _four(value)


def _humanize_1024(argument: object) -> str:
    """`1.177Mi`."""
    value = _float(argument)
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    return _scaled(value, 1024, [f"{letter}i" for letter in "kMGTPEZY"])


def _humanize_duration(argument: object) -> str:
    """`1d 2h 3m 4s`, `1.234s`, `120ms`."""
    value = _float(argument)
    if not math.isfinite(value):
        return _four(value)
    if abs(value) < 60:
        return f"{_scaled(value, 1000, ()) if value else 0}s"
    seconds = int(abs(value))
    amounts = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
    text = " ".join(f"{amount}{unit}" for amount, unit in zip(amounts, "dhms", strict=True))
    return f"{'-' if value < 0 else ''}{re.sub('^(0[dhm] )+', '', text)}"


def _time(argument: object) -> datetime:
    """The moment of seconds since 1970, to the millisecond."""
    value = _float(argument)
    if not abs(value * 1e9) < 2.0**63:
        raise CallFailed(
            f"{sprint([value])} cannot be represented as a nanoseconds timestamp since it overflows"
            " int64"
        )
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(value * 1e9 / 1e6))


def _humanize_timestamp(argument: object) -> str:
    value = _float(argument)
    return sprint([_time(value)]) if math.isfinite(value) else _four(value)


def _pattern(spend: Spend, pattern: str) -> re2._Regexp:
    """The pattern, unanchored, or CallFailed."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MAX
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        spend(_PATTERN_BYTES_MAX // _PATTERN_SHARE)  # it may have been large
        reason = error.args[0] if error.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise CallFailed(f"error parsing regexp: {reason}") from None
    spend(_PATTERN_SHARE * compiled.programsize)
    return compiled


def _match(spend: Spend, pattern: str, text: str) -> bool:
    compiled = _pattern(spend, pattern)
    spend(compiled.programsize * len(text) // _PATTERN_SHARE)
    return compiled.search(text) is not None


def _replace_all(spend: Spend, pattern: str, replacement: str, text: str) -> str:
    """Go's `ReplaceAllString`: `$1`, `${name}` and `$$` in the replacement."""
    compiled = _pattern(spend, pattern)
    # To find one match may mean to read on to the end of the text.
    a_match = compiled.programsize * (len(text) + _PATTERN_SHARE) // _PATTERN_SHARE
    last_end = -1

    def written(match: re2._Match) -> str:
        nonlocal last_end
        is_none = match.start() == match.end() == last_end  # an empty one right behind another
        last_end = match.end()

        def group(reference: re.Match[str]) -> str:
            name = reference[1] or reference[2]
            key = int(name[:5]) if name and name.isdigit() else name
            if isinstance(key, int):
                return str(match.group(key) or "") if key <= match.re.groups else ""
            return "$" if key is None else str(match.groupdict().get(key) or "")

        result = "" if is_none else _REFERENCE.sub(group, replacement)
        spend(a_match + len(result))
        return result

    return str(compiled.sub(written, text))


def _parse_duration(text: str) -> float:
    try:
        return durations.parse(text) / 1000
    except ValueError as error:
        raise CallFailed(str(error)) from None


def _host_port(address: str) -> tuple[str, str]:
    """Host and `:port`; all of it and nothing where Go's SplitHostPort fails."""
    match = _HOST_PORT.fullmatch(address)
    return (match[1] or match[2] or "", match[3]) if match else (address, "")


def _strip_domain(address: str) -> str:
    host, port = _host_port(address)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.split(".")[0] + port.rstrip(":")[:1] + port[1:]
    return address


def _first(result: QueryResult) -> Sample:
    if not result:
        raise CallFailed("first() called on vector with no elements")
    return result[0]


def functions(external_url: str, query: Query) -> dict[str, Function]:
    """By name; `query` raises CallFailed where it cannot be answered."""
    queries = 0

    def ask(text: str) -> QueryResult:
        nonlocal queries
        queries += 1
        if queries > QUERIES_MAX:
            raise CallFailed(f"more than {QUERIES_MAX} queries")
        return query(text)

    return {
        **PURE_FUNCTIONS,
        "query": Function(ask, ("string",)),
        "externalURL": Function(lambda: external_url),
        "pathPrefix": Function(lambda: urlsplit(external_url).path),
    }


def _link(tab: int) -> Function:
    path = f"/graph?g0.expr={{}}&g0.tab={tab}"
    return Function(lambda text: path.format(quote_plus(text, errors="replace")), ("string",))


_ANY, _STRING, _SAMPLE = ("any",), ("string",), ("*template.sample",)
PURE_FUNCTIONS: Mapping[str, Function] = {
    "first": Function(_first, ("template.queryResult",)),
    "label": Function(lambda name, sample: sample.Labels.get(name, ""), ("string", *_SAMPLE)),
    "value": Function(lambda sample: sample.Value, _SAMPLE),
    "strvalue": Function(lambda sample: sample.Labels.get("__value__", ""), _SAMPLE),
    "sortByLabel": Function(
        lambda name, result: QueryResult(sorted(result, key=lambda s: s.Labels.get(name, ""))),
        ("string", "template.queryResult"),
    ),
    "args": Function(
        lambda *values: {f"arg{i}": value for i, value in enumerate(values)}, _ANY, variadic=True
    ),
    "humanize": Function(_humanize, _ANY),
    "humanize1024": Function(_humanize_1024, _ANY),
    "humanizeDuration": Function(_humanize_duration, _ANY),
    "humanizePercentage": Function(lambda value: f"{_four(_float(value) * 100)}%", _ANY),
    "humanizeTimestamp": Function(_humanize_timestamp, _ANY),
    "toTime": Function(_time, _ANY),
    "title": Function(lambda text: re.sub(r"\b\w", lambda word: word[0].upper(), text), _STRING),
    "toUpper": Function(str.upper, _STRING),
    "toLower": Function(str.lower, _STRING),
    "match": Function(_match, ("string", "string"), spends=True),
    "reReplaceAll": Function(_replace_all, ("string", "string", "string"), spends=True),
    "safeHtml": Function(str, _STRING),
    "graphLink": _link(0),
    "tableLink": _link(1),
    "parseDuration": Function(_parse_duration, _STRING),
    "stripPort": Function(lambda address: _host_port(address)[0], _STRING),
    "stripDomain": Function(_strip_domain, _STRING),
}
FUNCTION_NAMES = frozenset({*PURE_FUNCTIONS, "query", "externalURL", "pathPrefix", "tmpl"})
