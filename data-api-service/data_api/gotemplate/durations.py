"""Durations as rule files write them: `1h30m`. Source: Prometheus `model.ParseDuration`."""

import re
from typing import Final

from data_api.promql.lexer import parse_duration_ms

_UNITS: Final = ("y", "w", "d", "h", "m", "s", "ms")
DURATION: Final = re.compile("".join(rf"(?:\d+{unit})?" for unit in _UNITS), re.ASCII)
DURATION_CHARACTERS_MAX: Final = 40
DURATION_MS_MAX: Final = 100 * 31_536_000_000


def parse(text: str) -> int:
    """The duration in ms. Raises ValueError in Prometheus' words."""
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    if len(text) > DURATION_CHARACTERS_MAX or not DURATION.fullmatch(text):
        raise ValueError(f'not a valid duration string: "{text[:DURATION_CHARACTERS_MAX]}"')
    duration_ms = parse_duration_ms(text)
    if duration_ms > DURATION_MS_MAX:
        raise ValueError("duration out of range")
    return duration_ms
