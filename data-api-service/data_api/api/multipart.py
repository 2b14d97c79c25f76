"""Forms as `multipart/form-data`, which `curl -F` and some clients send; pure."""

import re
from typing import Final

from data_api.api.params import PAIRS_MAX
from data_api.errors import BadRequest, BodyTooLarge

BYTES_MAX: Final = 64 * 1024
MEDIA_TYPE: Final = "multipart/form-data"
BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
NAME: Final = re.compile(rb'form-data\s*;\s*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)


def pairs(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Name and text of each field, in order. Raises BadRequest and BodyTooLarge.

    The event loop waits for it, so it is read in one pass, and a part within a part is none: the
    standard library's parser calls itself for each level.
    """
    if len(body) > BYTES_MAX:
        raise BodyTooLarge(limit_bytes=BYTES_MAX)
    boundary = BOUNDARY.search(content_type)
    if boundary is None:
        raise BadRequest(detail="its form has no boundary")
    mark = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1")
    _, *parts = (b"\r\n" + body).split(mark, PAIRS_MAX + 2)
    if len(parts) > PAIRS_MAX + 1:
        raise BadRequest(detail=f"its form has more than {PAIRS_MAX} fields")
    if not parts or not parts[-1].startswith(b"--"):
        raise BadRequest(detail="its form does not end with its boundary and `--`")
    try:
        return [_pair(part) for part in parts[:-1]]
    except ValueError as exc:
        raise BadRequest(detail="a field of its form is no UTF-8 text with a name") from exc


def _pair(part: bytes) -> tuple[str, str]:
    head, gap, content = part.partition(b"\r\n\r\n")
    name = NAME.search(head)
    if not gap or name is None:
        raise ValueError("no field")
    return (name[1] or name[2] or b"").decode(), content.decode()
