"""`python -m data_api.promqltest`: queries are tested in Prometheus's own language."""

import json

import pytest

from data_api.promqltest.__main__ import main

SCRIPT = """
load 1m
  up{job="a"} 1 0 1

eval instant at 1m sum(up)
  {} 0

eval instant at 2m sum(up)
  {} 5

eval instant at 2m max_of(1, 2)
  2
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.test"
    path.write_text(SCRIPT)
    return path


def test_each_failure_is_told_with_what_was_wanted(script, capsys):
    """File and line, the query, got and wanted; then the counts, and an exit code of 1."""
    assert main([str(script)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "mine:8: sum(up)"
    assert "gave {120000: 1.0}, wanted {120000: 5.0}" in told[1]
    assert told[-1] == "2 passed, 1 failed"


def test_a_folder_and_a_class(script, capsys):
    """A folder is all scripts in it; a class leaves the others out."""
    assert main([str(script.parent), "--class", "experimental"]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed\n"


def test_as_json(script, capsys):
    """What the lines say, for programs."""
    main([str(script), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["failed"]) == (2, 1)
    assert [one["kind"] for one in report["evals"]] == ["core", "core", "experimental"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("evil instant at 1m up", "neither load, clear nor eval"),
        ("load 1m\n  up 1 x", "x"),
        ("load 1m\n  up{a=", "1"),
        ("eval instant at 1m up\n  expect luck", "no such expectation"),
        ("load 1m\n  up {{schema:0}}+x", "+x"),
    ],
)
def test_a_script_that_cannot_be_read_says_where(script, capsys, text, why):
    """File and line of the block, and 2."""
    script.write_text(text)
    assert main([str(script)]) == 2
    told = capsys.readouterr().err
    assert f"{script}:1:" in told
    assert why in told
