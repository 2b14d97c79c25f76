"""What all bodies of requests have in common: docs/contracts.md §2 and §6."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

YEARS: Final = range(1000, 9000)
"""Of an instant: periods and offsets around it are still dates."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("not text: it has a NUL")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("not valid Unicode: half of a surrogate pair") from exc
    return text


def _in_utc(at: datetime) -> datetime:
    if at.year not in YEARS:
        raise ValueError(f"a year from {YEARS.start} to {YEARS[-1]}")
    return at.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its offset, in UTC from here on: Postgres refuses offsets of 16 hours and more."""
Unicode = Annotated[str, AfterValidator(_storable)]
"""Text that Postgres can keep: with a UTF-8 form, which half of a surrogate pair in JSON has not,
and without NUL.
"""


class Body(BaseModel):
    """What a caller sends; an unknown field is an error, since it is a typing error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """What an answer shows, read from the attributes of what a service gives."""

    model_config = ConfigDict(from_attributes=True)


def rfc3339(at: datetime) -> str:
    """The instant in UTC, with a `Z`."""
    return at.isoformat().replace("+00:00", "Z")
