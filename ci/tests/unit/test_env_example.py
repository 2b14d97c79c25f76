"""`.env.example` is the list of what `docker compose` reads."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READ = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>(?:[^${}]|\$\{[^}]*\})*))?")
NAMED = re.compile(r"^# (?P<name>[A-Z_]+)=(?P<default>\S*)", re.MULTILINE)
BY_MAKE = {"REVISION", "CREATED"}  # the Makefile sets them, from the commit


def test_the_example_names_what_compose_reads_and_nothing_else():
    """Every variable with its default; a secret has none."""
    read = {
        match["name"]: READ.sub(lambda inner: inner["default"], match["default"] or "").rstrip("}")
        for match in READ.finditer((ROOT / "docker-compose.yml").read_text())
    }
    named = {
        match["name"]: match["default"]
        for match in NAMED.finditer((ROOT / ".env.example").read_text())
    }
    assert named == {name: value for name, value in read.items() if name not in BY_MAKE}
