"""Which tests failed, and with what first line, read from JUnit XML."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

MOST = 10
LINE_MAX = 160


def failed(file: Path) -> list[str]:
    """`test: its first assertion` for each test that failed; the last line counts those left out.

    Nothing where the file is missing or no XML: a run that was killed wrote none, or half of one.
    """
    try:
        root = ET.parse(file).getroot()  # noqa: S314 - pytest wrote it, in this very build
    except (OSError, ET.ParseError):
        return []
    lines = list(_lines(root))
    more = len(lines) - MOST
    return lines[:MOST] + ([f"… and {more} more"] if more > 0 else [])


def _lines(root: ET.Element) -> Iterator[str]:
    for case in root.iter("testcase"):
        for fault in (*case.findall("failure"), *case.findall("error")):
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            said = (fault.get("message") or fault.text or "").strip().splitlines()
            yield f"{name}: {said[0] if said else 'no message'}"[:LINE_MAX]
