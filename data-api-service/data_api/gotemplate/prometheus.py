"""What templates of alerting rules call and see. Source: Prometheus's `template/template.go`,
`rules/alerting.go`.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import quote_plus, urlsplit

import re2

from data_api.gotemplate import durations
from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import Directive, Writer, go_type, quote, scalar, sprint
from data_api.gotemplate.values import Function, StringMap

QUERIES_MAX = 20  # of one template
_PATTERN_BYTES_MAX = 2**20  # of memory, compiled
_PATTERN_SHARE = 8  # instructions of a pattern over one character cost as much as reading it

_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.ASCII)


class Sample(NamedTuple):
    """One series of a query's answer."""

    labels: StringMap
    value: float

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

    labels: StringMap
    external_labels: StringMap
    external_url: str
    value: float


Query = Callable[[str], QueryResult]
Spend = Callable[[int], None]
"""Told of work that costs as much as reading so many characters; raises when it is too much."""


def to_float(value: object) -> float:
    """A number, a duration in seconds, or what a text says; else CallFailed."""
    match value:
        case bool():
            pass
        case float() | int():
            return float(value)
        case timedelta():
            return value.total_seconds()
        case str() if _FLOAT.fullmatch(value):
            return float(value)
        case str():
            raise CallFailed(f"strconv.ParseFloat: parsing {quote(value)}: invalid syntax")
    raise CallFailed(f"can't convert {go_type(value)} to float")


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


def humanize(argument: object) -> str:
    """`1.235M`, `120m`."""
    value = to_float(argument)
    return _scaled(value, 1000, "kMGTPEZY") if value and math.isfinite(value) else _four(value)


def humanize_1024(argument: object) -> str:
    """`1.177Mi`."""
    value = to_float(argument)
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    return _scaled(value, 1024, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])


def humanize_duration(argument: object) -> str:
    """`1d 2h 3m 4s`, `1.234s`, `120ms`."""
    value = to_float(argument)
    if not math.isfinite(value):
        return _four(value)
    if abs(value) < 60:
        return f"{_scaled(value, 1000, ()) if value else 0}s"
    seconds = int(abs(value))
    amounts = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
    first = next(index for index, amount in enumerate(amounts) if amount)
    texts = [f"{amount}{unit}" for amount, unit in zip(amounts, "dhms", strict=True)]
    return f"{'-' if value < 0 else ''}{' '.join(texts[first:])}"


def to_time(argument: object) -> datetime:
    """The moment of seconds since 1970, to the millisecond."""
    value = to_float(argument)
    nanos = value * 1e9
    if not -(2.0**63) < nanos < 2.0**63:
        shown = sprint([value])
        raise CallFailed(
            f"{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(nanos / 1e6))


def _humanize_timestamp(argument: object) -> str:
    value = to_float(argument)
    return sprint([to_time(value)]) if math.isfinite(value) else _four(value)


def _title(text: str) -> str:
    return re.sub(r"\b\w", lambda letter: letter[0].upper(), text)


def regex(spend: Spend, pattern: str) -> re2._Regexp:
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
    compiled = regex(spend, pattern)
    spend(compiled.programsize * len(text) // _PATTERN_SHARE)
    return compiled.search(text) is not None


def replace_all(spend: Spend, pattern: str, replacement: str, text: str) -> str:
    """Go's `ReplaceAllString`: `$1`, `${name}` and `$$` in the replacement."""
    writer = Writer()
    position, last_end = 0, -1
    compiled = regex(spend, pattern)
    # To find one match may mean to read on to the end of the text.
    a_match = compiled.programsize * (len(text) + _PATTERN_SHARE) // _PATTERN_SHARE
    for match in compiled.finditer(text):
        spend(a_match + len(replacement))
        begin, end = match.span()
        if begin == end == last_end:
            continue  # an empty match right behind another is none
        writer.add(text[position:begin])
        begin = 0
        for reference in _REFERENCE.finditer(replacement):
            writer.add(replacement[begin : reference.start()])
            writer.add(_group(match, reference))
            begin = reference.end()
        writer.add(replacement[begin:])
        position = last_end = end
    writer.add(text[position:])
    return writer.text()


def _group(match: re2._Match, reference: re.Match[str]) -> str:
    name = reference[1] or reference[2]
    if name is None:
        return "$"
    if name.isdigit():
        number = int(name[:5])
        return str(match.group(number) or "") if number <= match.re.groups else ""
    return str(match.group(name) or "") if name in match.re.groupindex else ""


def _parse_duration(text: str) -> float:
    try:
        return durations.parse(text) / 1000
    except ValueError as error:
        raise CallFailed(str(error)) from None


def _host_port(address: str) -> tuple[str, str]:
    """Host and `:port`; all of it and nothing where Go's SplitHostPort fails."""
    match = re.fullmatch(r"\[([^\[\]]*)\](:[^\[\]:]*)|([^\[\]:]*)(:[^\[\]:]*)", address)
    if match is None:
        return address, ""
    return (match[1], match[2]) if match[2] else (match[3], match[4])


def _strip_domain(address: str) -> str:
    host, port = _host_port(address)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        short = host.split(".")[0]
        return f"{short}{port}" if port != ":" else short
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

    url = urlsplit(external_url)
    return {
        **PURE_FUNCTIONS,
        "query": Function(ask, ("string",)),
        "externalURL": Function(lambda: external_url),
        "pathPrefix": Function(lambda: url.path),
    }


def _link(tab: int) -> Function:
    def link(text: str) -> str:
        return f"/graph?g0.expr={quote_plus(text, errors='replace')}&g0.tab={tab}"

    return Function(link, ("string",))


_ANY, _STRING, _SAMPLE = ("any",), ("string",), ("*template.sample",)
PURE_FUNCTIONS: Mapping[str, Function] = {
    "first": Function(_first, ("template.queryResult",)),
    "label": Function(lambda name, sample: sample.labels.get(name, ""), ("string", *_SAMPLE)),
    "value": Function(lambda sample: sample.value, _SAMPLE),
    "strvalue": Function(lambda sample: sample.labels.get("__value__", ""), _SAMPLE),
    "sortByLabel": Function(
        lambda name, result: QueryResult(sorted(result, key=lambda s: s.labels.get(name, ""))),
        ("string", "template.queryResult"),
    ),
    "args": Function(
        lambda *values: {f"arg{i}": value for i, value in enumerate(values)}, _ANY, variadic=True
    ),
    "humanize": Function(humanize, _ANY),
    "humanize1024": Function(humanize_1024, _ANY),
    "humanizeDuration": Function(humanize_duration, _ANY),
    "humanizePercentage": Function(lambda value: f"{_four(to_float(value) * 100)}%", _ANY),
    "humanizeTimestamp": Function(_humanize_timestamp, _ANY),
    "toTime": Function(to_time, _ANY),
    "title": Function(_title, _STRING),
    "toUpper": Function(str.upper, _STRING),
    "toLower": Function(str.lower, _STRING),
    "match": Function(_match, ("string", "string"), spends=True),
    "reReplaceAll": Function(replace_all, ("string", "string", "string"), spends=True),
    "safeHtml": Function(str, _STRING),
    "graphLink": _link(0),
    "tableLink": _link(1),
    "parseDuration": Function(_parse_duration, _STRING),
    "stripPort": Function(lambda address: _host_port(address)[0], _STRING),
    "stripDomain": Function(_strip_domain, _STRING),
}
FUNCTION_NAMES = frozenset({*PURE_FUNCTIONS, "query", "externalURL", "pathPrefix", "tmpl"})

MEMBERS: Mapping[type, Mapping[str, Function]] = {
    Sample: {"Labels": Function(attrgetter("labels")), "Value": Function(attrgetter("value"))},
    AlertData: {
        "Labels": Function(attrgetter("labels")),
        "ExternalLabels": Function(attrgetter("external_labels")),
        "ExternalURL": Function(attrgetter("external_url")),
        "Value": Function(attrgetter("value")),
    },
}
