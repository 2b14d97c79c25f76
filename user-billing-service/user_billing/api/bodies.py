"""What all bodies of requests have in common: docs/contracts.md §2 and §6."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("not valid Unicode: half of a surrogate pair") from exc
    return text


Unicode = Annotated[str, AfterValidator(_encodable)]
"""Text that has a UTF-8 form; JSON can write halves of surrogate pairs, which have none."""


class Body(BaseModel):
    """What a caller sends; an unknown field is an error, since it is a typing error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
