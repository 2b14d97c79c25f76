"""The root of every error tree: what went wrong as a kind, with its numbers, never as HTTP.

A service derives its own tree in `errors.py`. `problems.py` is the one place that turns a kind
into a status and a body.
"""

from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """What an error means to whoever asked; the values are Prometheus's `errorType` words."""

    BAD_DATA = "bad_data"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    EXECUTION = "execution"
    RATE_LIMITED = "rate_limited"
    CANCELED = "canceled"
    INTERNAL = "internal"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"


class ServiceError(Exception):
    """The request could not be served.

    Built with its facts as keywords: `TooManySamples(needed=5, limit=3)`. The first line of the
    subclass's docstring is the message; `describe()` may say it better.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(self, /, **facts: Any) -> None:
        super().__init__(facts)
        self.facts = facts

    def describe(self) -> str:
        """The message, then each fact as `name=value`; `detail` stands alone, unnamed."""
        text = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0].rstrip(".")
        facts = dict(self.facts)
        detail = facts.pop("detail", None)
        facts.pop("retry_after_s", None)
        if detail is not None:
            text = f"{text}: {detail}"
        if facts:
            text = f"{text} ({', '.join(f'{name}={value}' for name, value in facts.items())})"
        return text

    def __str__(self) -> str:
        return self.describe()
