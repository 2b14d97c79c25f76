"""Durations as rule files write them: `1h30m`. Source: Prometheus `model.ParseDuration`."""

import re
from typing import Final

DURATION: Final = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
UNITS: Final = (
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
)
DURATION_CHARACTERS_MAX: Final = 40
DURATION_MS_MAX: Final = 100 * 31_536_000_000


def parse(text: str) -> int:
    """The duration in ms. Raises ValueError in Prometheus' words."""
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    match = DURATION.fullmatch(text) if len(text) <= DURATION_CHARACTERS_MAX else None
    if match is None:
        raise ValueError(f'not a valid duration string: "{text[:DURATION_CHARACTERS_MAX]}"')
    numbers = (int(digits or 0) for digits in match.groups())
    duration_ms = sum(n * ms for n, (_, ms) in zip(numbers, UNITS, strict=True))
    if duration_ms > DURATION_MS_MAX:
        raise ValueError("duration out of range")
    return duration_ms


def to_text(duration_ms: int) -> str:
    """The duration in its largest units; years, weeks and days only where nothing is left over."""
    if not duration_ms:
        return "0s"
    out, rest = "", duration_ms
    for unit, ms in UNITS:
        if unit in {"y", "w", "d"} and rest % ms:
            continue
        amount, rest = divmod(rest, ms)
        out += f"{amount}{unit}" if amount else ""
    return out
