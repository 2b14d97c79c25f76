"""What all bodies of requests have in common: docs/contracts.md §2 and §6."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("not text: it has a NUL")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("not valid Unicode: half of a surrogate pair") from exc
    return text


Unicode = Annotated[str, AfterValidator(_storable)]
"""Text that has a UTF-8 form; JSON can write halves of surrogate pairs, which have none,
and NUL, which Postgres does not store."""


class Body(BaseModel):
    """What a caller sends; an unknown field is an error, since it is a typing error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def rfc3339(at: datetime) -> str:
    """The instant in UTC, with a `Z`."""
    return at.isoformat().replace("+00:00", "Z")
