"""Patterns as Prometheus reads them: RE2, and `.` matches every character."""

from functools import lru_cache
from typing import Any, Final

import re2

PATTERNS_CACHED_MAX: Final = 1_000


@lru_cache(PATTERNS_CACHED_MAX)
def compiled(pattern: str) -> Any:
    """The pattern; ValueError when it is none."""
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as exc:
        reason = exc.args[0]
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern!r} is not a pattern: {text}") from None
