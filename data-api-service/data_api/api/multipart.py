"""Forms as `multipart/form-data`, which `curl -F` and some clients send; pure."""

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

from data_api.api.params import PAIRS_MAX
from data_api.errors import BadRequest, BodyTooLarge

BYTES_MAX: Final = 64 * 1024  # the event loop reads it: a tenth of a second for empty lines
MEDIA_TYPE: Final = "multipart/form-data"


def pairs(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Name and text of each field, in order. Raises BadRequest and BodyTooLarge."""
    if len(body) > BYTES_MAX:
        raise BodyTooLarge(limit_bytes=BYTES_MAX)
    if body.count(b"\n--") > PAIRS_MAX:
        raise BadRequest(detail=f"its form has more than {PAIRS_MAX} fields")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    if not form.is_multipart():
        raise BadRequest(detail="its form has no boundary, or no field")
    try:
        return [_pair(part) for part in form.walk() if part is not form]
    except (ValueError, LookupError) as exc:
        raise BadRequest(detail="a field of its form is no UTF-8 text with a name") from exc


def _pair(part: Message) -> tuple[str, str]:
    name, content = (
        part.get_param("name", header="content-disposition"),
        part.get_payload(decode=True),
    )
    if not isinstance(name, str) or not isinstance(content, bytes):
        raise ValueError("no field")  # noqa: TRY004 - of the text, not of a caller's type
    return name, content.decode()
