"""The end of a console says what failed, of which class, and what to do."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ci import summary as journal
from ci.outcome import Outcome


def line(command, code=0, message="", status="done"):
    """A line of outcomes.jsonl."""
    argv = [command, "--plan", "p.json"]
    return {
        "command": command,
        "argv": argv,
        "took_s": 61.25,
        "status": status,
        "exit_code": code,
        "message": message,
    }


def test_all_well_is_a_line_for_each_command():
    """Nobody reads on when nothing failed."""
    text = journal.text([line("plan", message="das test\nmore"), line("lint")])
    assert text.splitlines() == [
        "  ✓   61.2 s  python -m ci plan --plan p.json  done: das test",
        "  ✓   61.2 s  python -m ci lint --plan p.json  done",
        "",
        "all commands ended well",
    ]


@pytest.mark.parametrize(("code", "word"), [(2, "usage"), (3, "rule"), (4, "again may help")])
def test_a_failure_is_told_last_with_its_class(code, word):
    """What to do follows from the class of the exit code."""
    text = journal.text([line("push", code, "first\nsecond", "refused"), line("summary")])
    tail = text.split("\n\n✗ ")[1]
    assert f"exit code {code}" in tail
    assert word in tail.replace("running it again may help", "again may help")
    assert "    first\n    second" in tail
    assert text.endswith("1 of 2 commands failed")


def test_a_long_message_keeps_its_end():
    """The reason of a failure stands last."""
    text = journal.text([line("test", 5, "\n".join(f"row {n}" for n in range(99)))])
    assert "row 98" in text
    assert "row 58" not in text
    assert "(59 lines before)" in text


def test_a_build_without_a_command_says_so():
    """`make ci` itself may have failed."""
    assert "no command" in journal.text([])


def test_a_line_that_is_none_is_left_out(tmp_path):
    """A killed run ends in the middle of a line, and a test may write anywhere."""
    context = SimpleNamespace(
        handed_on=tmp_path, environ={"BUILD_NUMBER": "7"}, now=lambda: datetime.now(UTC)
    )
    journal.record(context, "push", ["push", "caf\udce9"], Outcome("pushed", "well"), 1)
    with (tmp_path / journal.FILE).open("ab") as appended:
        appended.write(b'{"build": "7"}\n[]\n\xff\n{"build": "7", "comm')
    assert [entry["command"] for entry in journal.of_build(context)] == ["push"]
    journal.record(context, "bump", ["bump"], Outcome("bumped", "well"), 1)
    assert [entry["command"] for entry in journal.of_build(context)] == ["push", "bump"]
