"""What no formatter holds: long strings and comments end somewhere too."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    ROOT / "index.html",
    *(path for path in sorted((ROOT / "src").rglob("*")) if path.suffix in {".js", ".css"}),
    *sorted((ROOT / "tests").rglob("*.js")),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_line_is_over_120_columns(path: Path) -> None:
    """A line is read without scrolling."""
    lines = path.read_text().splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []
