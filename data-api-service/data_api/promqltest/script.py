"""Scripts in Prometheus's test language, read.

    load 1m
      up{job="a"} 1+0x5 _ stale 1      # 6 samples, a gap, a stale marker, one more
    eval instant at 5m sum(up)
      {} 1
    eval range from 0 to 5m step 1m up
      expect no_warn
      up{job="a"} 1 1 1 1 1 1

Blocks end at a blank line. `1+2x3` is four values. Source: Prometheus `promql/promqltest/test.go`.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from data_api.model import METRIC_NAME, STALE_BITS
from data_api.promql.lexer import Kind, parse_duration_ms, tokens
from data_api.promqltest.literals import Literal, literals

T = TypeVar("T")
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

_EVAL = re.compile(
    r"eval(?:_(?P<old>fail|warn|ordered|info))? (?:instant at (?P<at>\S+)|"
    r"range from (?P<start>\S+) to (?P<end>\S+) step (?P<step>\S+))\s+(?P<query>.*)"
)
_VALUE = re.compile(r"\{\{.*?\}\}(?:[+-]\{\{.*?\}\})?(?:x\d+)?|\S+")
_EXPANDED = re.compile(
    r"(?P<first>[+-]?(?:inf|nan|[0-9.]+(?:e[+-]?\d+)?))"
    r"(?P<delta>[+-](?:inf|nan|[0-9.]+(?:e[+-]?\d+)?))?x(?P<times>\d+)\Z",
    re.IGNORECASE,
)


class BadScript(Exception):
    """A script that is not of this language; the text says where and what."""


def needed(part: T | None, what: str) -> T:
    """The part of a line that must be there. Raises BadScript."""
    if part is None:
        raise BadScript(what)
    return part


@dataclass
class Series:
    """What a script says of one series: a value, None for a gap, or a histogram each."""

    labels: dict[str, str]
    values: list[float | Literal | None]


@dataclass
class Eval:
    """One `eval` with what it expects."""

    line: int
    query: str
    start_ms: int
    end_ms: int
    step_ms: int
    instant: bool
    fails: bool = False
    message: str | None = None
    pattern: str | None = None
    warn: bool | None = None
    info: bool | None = None
    messages: list[tuple[str, str, str]] = field(default_factory=list)
    ordered: bool = False
    series: list[Series] = field(default_factory=list)
    scalar: float | None = None
    string: str | None = None
    matrix: tuple[int, int, int] | None = None


def duration_ms(text: str) -> int:
    """`1m30s`, or a plain number of seconds."""
    try:
        return round(float(text) * 1000)
    except ValueError:
        return parse_duration_ms(text) * (-1 if text.startswith("-") else 1)


def parse_labels(text: str) -> tuple[dict[str, str], str]:
    """The labels of a series line, and the rest of the line."""
    labels: dict[str, str] = {}
    end = 0
    if not text.startswith("{"):
        bare = needed(re.match(r"[^\s{]+", text), f"no series: {text!r}")
        labels[METRIC_NAME] = bare.group()
        end = bare.end()
    if text[end : end + 1] == "{" and text[end : end + 2] != "{{":
        name: str | None = None
        closed = False
        for token in tokens(text[end:]):
            if token.text == "}" and token.kind is Kind.SYMBOL:
                end += token.end
                closed = True
                break
            if token.kind is Kind.IDENTIFIER or (token.kind is Kind.STRING and name is None):
                name = token.text
            elif token.kind is Kind.STRING:
                labels[needed(name, f"a value without a label: {text!r}")] = token.text
                name = None
            elif token.text == "," and isinstance(name, str):
                labels[METRIC_NAME] = name
                name = None
        needed(closed or None, f"no end of the labels: {text!r}")
        if isinstance(name, str):
            labels[METRIC_NAME] = name
    return {k: labels[k] for k in sorted(labels) if labels[k]}, text[end:].strip()


def number(text: str) -> float:
    """A number as scripts write it."""
    return float(int(text, 16)) if text.lower().startswith("0x") else float(text)


def parse_values(text: str) -> list[float | Literal | None]:
    """`1 2+1x3 _ _x2 stale` spelled out."""
    values: list[float | Literal | None] = []
    for item in _VALUE.findall(text):
        if item.startswith("{{"):
            values.extend(literals(item))
        elif item == "_":
            values.append(None)
        elif item.startswith("_x"):
            values.extend([None] * int(item[2:]))
        elif item == "stale":
            values.append(STALE)
        elif m := _EXPANDED.match(item):
            value, delta = float(m["first"]), float(m["delta"] or 0)
            for _ in range(int(m["times"]) + 1):
                values.append(value)
                value += delta
        else:
            values.append(number(item))
    return values


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines without a blank one between, no comments, with the first line's number."""
    block: list[str] = []
    first = 0
    for index, raw in enumerate([*text.splitlines(), ""], 1):
        line = raw.strip()
        if line.startswith("#"):
            continue
        is_head = re.match(r"(load|eval|clear)", line) and not raw[:1].isspace()
        if block and (is_head or not line):
            yield first, block
            block = []
        if line:
            first = first if block else index
            block.append(line)


def parse_eval(line: int, block: list[str]) -> Eval:
    """An eval block."""
    head = needed(_EVAL.match(block[0]), f"neither load, clear nor eval: {block[0]!r}")
    at = head["at"]
    times = (at, at, "1m") if at else (head["start"], head["end"], head["step"])
    start_ms, end_ms, step_ms = map(duration_ms, times)
    ev = Eval(line, head["query"], start_ms, end_ms, step_ms, instant=at is not None)
    ev.fails = head["old"] == "fail"
    ev.ordered = head["old"] == "ordered"
    ev.warn = True if head["old"] == "warn" else None
    ev.info = True if head["old"] == "info" else None
    for item in block[1:]:
        if item.startswith("expect "):
            _expectation(ev, item.removeprefix("expect ").strip())
        elif item.startswith("expected_fail"):
            _expectation(ev, item.replace("expected_fail_message", "fail msg:"))
        elif re.match(r"[+-]?(?:[0-9.]|inf|nan)", item, re.IGNORECASE) and " " not in item:
            ev.scalar = number(item)
        else:
            labels, rest = parse_labels(item)
            ev.series.append(Series(labels, parse_values(rest)))
    return ev


def _expectation(ev: Eval, text: str) -> None:  # noqa: C901 - a case a keyword
    what, _, rest = text.partition(" ")
    rest = rest.strip()
    if what == "fail":
        ev.fails = True
        if rest.startswith("msg:"):
            ev.message = rest[4:].strip()
        elif rest.startswith("regex:"):
            ev.pattern = rest[6:].strip()
    elif what in {"warn", "info"}:
        setattr(ev, what, True)
        if ":" in rest:
            how, _, wanted = rest.partition(":")
            ev.messages.append((what, how, wanted.strip()))
    elif what == "no_warn":
        ev.warn = False
    elif what == "no_info":
        ev.info = False
    elif what == "ordered":
        ev.ordered = True
    elif what == "string":
        ev.string = next(tokens(rest)).text
    elif what == "range":
        pattern = r"vector from (\S+) to (\S+) step (\S+)"
        m = needed(re.match(pattern, rest), f"no range: {rest!r}")
        ev.matrix = (duration_ms(m[1]), duration_ms(m[2]), duration_ms(m[3]))
    else:
        raise BadScript(f"no such expectation: {text!r}")
