"""Request parameters as Prometheus reads them; pure. Times stay integers: no year is too far.

Errors are InvalidParameter with Prometheus's words, which Grafana shows as they are.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from data_api.errors import BadRequest, InvalidParameter, QuerySyntax
from data_api.model import Matcher
from data_api.questions import Selectors, Text, parse_selector

POINTS_MAX: Final = 11_000
PAIRS_MAX: Final = 1000  # parameters of one request
SELECTORS_MAX: Final = 256  # `match[]` of one request
TIME_MS_MAX: Final = 2**62  # far beyond any calendar, and sums of two stay inside int64
MIN_TIME: Final = "-292273086-05-16T16:47:06Z"
MAX_TIME: Final = "292277025-08-18T07:12:54.999999999Z"
RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)", re.ASCII
)
DURATION_CHARACTERS_MAX: Final = 200
DURATION: Final = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
UNIT_MS: Final = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)


class Params:
    """The parameters of one request, from its URL and its form body together, in order."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    @classmethod
    def parse(cls, *encoded: bytes) -> "Params":
        """From urlencoded texts; the first one has precedence."""
        try:
            return cls(
                [
                    pair
                    for text in encoded
                    for pair in parse_qsl(
                        text.decode("ascii"),
                        keep_blank_values=True,
                        errors="strict",
                        max_num_fields=PAIRS_MAX,
                    )
                ]
            )
        except ValueError as exc:
            raise BadRequest(
                detail=f"its parameters are not urlencoded UTF-8, or more than {PAIRS_MAX}"
            ) from exc

    def get(self, name: str) -> str:
        """The first value of a parameter; "" when it is absent, as everywhere in this API."""
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a repeatable parameter."""
        return [value for key, value in self._pairs if key == name]

    def time_ms(self, name: str, default: int | None = None) -> int:
        """A time as integer ms; raises when it is absent and has no default."""
        text = self.get(name)
        if not text and default is not None:
            return default
        return parse_time(name, text)

    def span(self) -> tuple[int, int] | None:
        """[start, end] in ms of a metadata call, both inclusive; None when neither is given."""
        if not self.get("start") and not self.get("end"):
            return None
        start_ms = self.time_ms("start", -TIME_MS_MAX)
        end_ms = self.time_ms("end", TIME_MS_MAX)
        if end_ms < start_ms:
            raise InvalidParameter(name="end", reason="end timestamp must not be before start time")
        return start_ms, end_ms

    def duration_ms(self, name: str) -> int | None:
        """A duration as integer ms, float seconds or `1h30m`; None when it is absent."""
        text = self.get(name)
        return parse_duration(name, text) if text else None

    def timeout_s(self) -> float | None:
        """The caller's own bound; None when absent."""
        timeout_ms = self.duration_ms("timeout")
        if timeout_ms is not None and timeout_ms <= 0:
            raise InvalidParameter(name="timeout", reason="it must be above zero")
        return None if timeout_ms is None else timeout_ms / 1000

    def lookback_ms(self) -> int | None:
        """The caller's own lookback; None when absent."""
        lookback_ms = self.duration_ms("lookback_delta")
        if lookback_ms is not None and lookback_ms <= 0:
            raise InvalidParameter(name="lookback_delta", reason="it must be above zero")
        return lookback_ms

    def limit(self, name: str = "limit") -> int:
        """How many answers to keep; 0 = all."""
        text = self.get(name)
        if not text:
            return 0
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise InvalidParameter(name=name, reason="limit must be non-negative")
        return int(text)

    def selectors(self, *, required: bool = False) -> Selectors:
        """The matchers of each `match[]`, of which a series must match one, not parsed yet."""
        texts = self.all("match[]")
        if required and not texts:
            raise BadRequest(detail="no match[] parameter provided")
        if len(texts) > SELECTORS_MAX:
            raise InvalidParameter(
                name="match[]", reason=f"{len(texts)} selectors, the limit is {SELECTORS_MAX}"
            )
        return Text(sum(map(len, texts)), partial(self._parsed, texts))

    @staticmethod
    def _parsed(texts: Sequence[str]) -> list[tuple[Matcher, ...]]:
        try:
            selectors = [parse_selector(text) for text in texts]
        except QuerySyntax as exc:
            facts = {**exc.facts, "parameter": "match[]"}
            raise type(exc)(**facts) from exc
        for matchers in selectors:
            if all(matcher.matches_absent() for matcher in matchers):
                raise InvalidParameter(
                    name="match[]",
                    reason="match[] must contain at least one non-empty matcher",
                )
        return selectors

    def steps(self) -> tuple[int, int, int]:
        """(start, end, step) in ms of a range query, within Prometheus's resolution limit."""
        start_ms, end_ms, step_ms = self.times()
        if (end_ms - start_ms) // step_ms > POINTS_MAX:
            raise BadRequest(
                detail="exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        return start_ms, end_ms, step_ms

    def times(self) -> tuple[int, int, int]:
        """(start, end, step) in ms, however many steps they are."""
        start_ms, end_ms = self.time_ms("start"), self.time_ms("end")
        if end_ms < start_ms:
            raise InvalidParameter(name="end", reason="end timestamp must not be before start time")
        step_ms = parse_duration("step", self.get("step"))
        if step_ms <= 0:
            raise InvalidParameter(
                name="step",
                reason="zero or negative query resolution step widths are not accepted. "
                "Try a positive integer",
            )
        return start_ms, end_ms, step_ms


def parse_time(name: str, text: str) -> int:
    """Float seconds or RFC 3339, as integer ms since the epoch."""
    if text in (MIN_TIME, MAX_TIME):
        return -TIME_MS_MAX if text == MIN_TIME else TIME_MS_MAX
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and "_" not in text:
        if abs(seconds * 1000) <= TIME_MS_MAX:
            return round(seconds * 1000)
    elif match := RFC3339.fullmatch(text):
        day, clock, fraction, zone = match.groups()
        try:
            whole = datetime.fromisoformat(f"{day}T{clock}{zone.upper()}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        else:
            return int(whole.timestamp()) * 1000 + int((fraction or "").ljust(9, "0")[:3])
    raise InvalidParameter(name=name, reason=f"cannot parse {text!r} to a valid timestamp")


def parse_duration(name: str, text: str) -> int:
    """Float seconds or Prometheus's `1h30m`, as integer ms."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and "_" not in text:
        if abs(seconds * 1000) <= TIME_MS_MAX:
            return round(seconds * 1000) or (1 if seconds > 0 else 0)
    elif 0 < len(text) <= DURATION_CHARACTERS_MAX and (match := DURATION.fullmatch(text)):
        duration_ms = sum(
            int(n or 0) * unit for n, unit in zip(match.groups(), UNIT_MS, strict=True)
        )
        if duration_ms <= TIME_MS_MAX:
            return duration_ms
    raise InvalidParameter(name=name, reason=f"cannot parse {text!r} to a valid duration")


def unescape_label_name(name: str) -> str:
    """A label name out of a URL path: `U__http_2e_status` is `http.status`.

    A name that is no proper escape stands for itself. Source: Prometheus `model.UnescapeName`.
    """
    if not name.startswith("U__"):
        return name
    rest, out = name[3:], []
    at = 0
    while at < len(rest):
        if rest[at] != "_":
            out.append(rest[at])
            at += 1
        elif rest.startswith("__", at):
            out.append("_")
            at += 2
        else:
            code, closed, _ = rest[at + 1 :].partition("_")
            if (
                not closed
                or not re.fullmatch(r"[0-9a-fA-F]{1,6}", code)
                or int(code, 16) > 0x10FFFF
            ):
                return name
            out.append(chr(int(code, 16)))
            at += len(code) + 2
    return "".join(out)
