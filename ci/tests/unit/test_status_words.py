"""docs/delivery.md tells what each status asks of its reader: all there are, and no others."""

import re
from pathlib import Path

from ci.bump.handshake import MOVES
from ci.errors import CiError

ROOT = Path(__file__).resolve().parents[3]
PLACES = ("plan/*", "build", "push", "scan", "bump/*", "promote", "status", "summary", "config")
PLACES += ("manifests/*", "scaffold/*", "tools/*")
SOURCES = [path.read_text() for place in PLACES for path in (ROOT / "ci").glob(f"{place}.py")]
TABLE = (ROOT / "docs" / "delivery.md").read_text().partition("| code | status |")[2]
ROWS = [line.split("|") for line in TABLE.partition("\n## ")[0].splitlines() if line.count("|") > 3]
NAMED = {word for row in ROWS for word in re.findall(r"`(\w+)`", row[2])}
COMPOSED = {*MOVES.values(), *(kind.status for kind in CiError.__subclasses__())}


def test_every_status_that_a_command_may_end_with_is_explained():
    """A word in a console is looked up there."""
    given = {word for text in SOURCES for word in re.findall(r'\bstatus="(\w+)"', text)}
    ended = {word for text in SOURCES for word in re.findall(r'\bOutcome\(\s*"(\w+)"', text)}
    assert (given | ended) - NAMED == set()


def test_every_status_that_is_explained_exists():
    """What nothing ends with any more is not explained either."""
    quoted = {word for text in SOURCES for word in re.findall(r'"(\w+)"', text)}
    assert NAMED - quoted - COMPOSED == set()
