"""The command line: every command can be tried dry and read by a program, and exits by class."""

import json

import pytest

from ci import cli
from ci.commands import stop as a_command
from ci.errors import Defect, OutsideFault, Refused, UsageError
from ci.outcome import Outcome

COMMANDS = [name for names in cli.GROUPS.values() for name in names]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_tried_dry_and_read_by_a_program(name):
    """`--dry-run` and `--json` belong to every command, whatever else it takes."""
    help_text = _help(name)
    assert "--dry-run" in help_text
    assert "--json" in help_text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_is_for(name):
    """The help of a command opens with what it does; the list of all commands has a line each."""
    module = cli.command_module(name)
    assert module.__doc__.splitlines()[0] in _help(name)
    assert f"  {name:12} {module.HELP}\n" in cli.parser().format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_usage_can_be_copied_and_every_argument_says_what_it_is(name):
    """Help that needs no manual: the command as it is typed, and no argument without a word."""
    assert _help(name).startswith(f"usage: python -m ci {name} [")
    assert [each.dest for each in _parser(name)._actions if not each.help] == []


def _help(name):
    return _parser(name).format_help()


def _parser(name):
    return cli.parser()._subparsers._group_actions[0].choices[name]


@pytest.mark.parametrize(
    ("ended", "code", "status"),
    [
        pytest.param(Outcome("done", "well"), 0, "done", id="done"),
        pytest.param(Outcome("nothing", "no need"), 0, "nothing", id="nothing to do"),
        pytest.param(UsageError("no such"), 2, "usage", id="usage"),
        pytest.param(Refused("no", status="held"), 3, "held", id="refused"),
        pytest.param(OutsideFault("gone"), 4, "outside_fault", id="outside"),
        pytest.param(Defect("wrong", where=3), 5, "defect", id="defect"),
    ],
)
def test_a_command_exits_by_the_class_of_its_end(monkeypatch, capsys, ended, code, status):
    """The exit code tells what to do about it, and the JSON says the same in words."""

    def main(arguments, context):
        if isinstance(ended, Exception):
            raise ended
        return ended

    monkeypatch.setattr(a_command, "main", main)
    assert cli.main(["stop", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["exit_code"], told["command"]) == (status, code, "stop")
    assert told["message"] == (str(ended) if isinstance(ended, Exception) else ended.text)


def test_a_fault_of_ci_itself_is_a_defect_with_its_traceback(monkeypatch, capsys):
    """An error nobody foresaw ends with 5 as well, and loses nothing that helps to find it."""

    def main(arguments, context):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(a_command, "main", main)
    assert cli.main(["stop", "--json"]) == 5
    told = capsys.readouterr()
    assert json.loads(told.out)["status"] == "ci_defect"
    assert "Traceback" in told.err


def test_a_command_that_is_not_there_is_a_usage_error(capsys):
    """A misspelt command ends with 2 and the list of commands."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["bmup"])
    assert ended.value.code == 2
    assert "bump" in capsys.readouterr().err


def test_bytes_that_are_no_utf8_end_no_command(monkeypatch, capsysbinary):
    """A file's name or an argument may hold any; it is told as it can be told."""
    monkeypatch.setattr(a_command, "main", lambda *_: Outcome("done", "caf\udce9"))
    assert cli.main(["stop"]) == 0
    assert capsysbinary.readouterr().out == b"caf\\udce9\n"
