"""The command line: every command can be tried dry and read by a program, and exits by class."""

import contextlib
import functools
import io
import json
import os
import re
import subprocess

import click
import pytest

from ci import __version__, catalogue, cli
from ci.errors import Defect, OutsideFault, Refused, UsageError
from ci.native import commands as native
from ci.outcome import Outcome


@pytest.mark.parametrize("name", cli.ENTRIES)
def test_every_command_can_be_tried_dry_and_read_by_a_program(name):
    """`--dry-run` and `--json` belong to every command, whatever else it takes."""
    help_text = _help(name)
    assert "--dry-run" in help_text
    assert "--json" in help_text


@pytest.mark.parametrize("name", cli.ENTRIES)
def test_every_command_says_what_it_is_for(name):
    """The help of a command opens with what it does; the list of all commands has a line each."""
    command = cli.command(name)
    assert " ".join(_help(name).split()).find(command.help.split("\n")[0].strip(" r")) > 0
    assert re.search(rf"^  {name} +{re.escape(cli.ENTRIES[name][1])}$", _help(), re.MULTILINE)


@pytest.mark.parametrize("name", cli.ENTRIES)
def test_a_usage_can_be_copied_and_every_argument_says_what_it_is(name):
    """Help that needs no manual: the command as it is typed, and no argument without a word."""
    assert _help(name).startswith(f"Usage: python -m ci {name} [")
    for parameter in cli.command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
        else:
            said = parameter.make_metavar(click.Context(cli.root)).strip("[].")
            assert f"{said}:" in _help(name), parameter.name


@functools.cache
def _help(*name):
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert cli.main([*name, "--help"]) == 0
    return written.getvalue()


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

    def stop(context):
        if isinstance(ended, Exception):
            raise ended
        return ended

    monkeypatch.setattr(native.stop, "callback", stop)
    assert cli.main(["stop", "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["exit_code"], answer["command"]) == (status, code, "stop")
    assert answer["message"] == (str(ended) if isinstance(ended, Exception) else ended.text)


def test_a_fault_of_ci_itself_is_a_defect_with_its_traceback(monkeypatch, capsys):
    """An error nobody foresaw ends with 5 as well, and loses nothing that helps to find it."""

    def stop(context):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(native.stop, "callback", stop)
    assert cli.main(["stop", "--json"]) == 5
    answer = capsys.readouterr()
    assert json.loads(answer.out)["status"] == "ci_defect"
    assert "Traceback" in answer.err


def test_a_command_that_is_not_there_is_a_usage_error(capsys):
    """A misspelt command ends with 2 and says what was probably meant."""
    assert cli.main(["bmup"]) == 2
    assert "Did you mean 'bump'" in capsys.readouterr().err


def test_a_wrong_option_shows_the_usage_of_its_own_command(capsys):
    """Not that of the whole program; and the option that was probably meant."""
    assert cli.main(["logs", "--no-folow"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Usage: python -m ci logs [")
    assert "--no-follow" in said


def test_without_a_command_the_help_is_shown(capsys):
    """Somebody who types the program's name wants to know what it can do."""
    assert cli.main([]) == 0
    assert "Usage: python -m ci" in capsys.readouterr().out


def test_the_version_can_be_asked_for(capsys):
    """As of every program."""
    assert cli.main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_bytes_that_are_no_utf8_end_no_command(monkeypatch, capsysbinary):
    """A file's name or an argument may hold any; it is told as it can be told."""
    monkeypatch.setattr(native.stop, "callback", lambda _: Outcome("done", "caf\udce9"))
    assert cli.main(["stop"]) == 0
    assert capsysbinary.readouterr().out == b"caf\\udce9\n"


@pytest.mark.parametrize(("line", "word"), [("ci pro", "promote"), ("ci logs --no", "--no-follow")])
def test_a_shell_completes_the_words_of_the_program(line, word, tmp_path):
    """`ci/ci` works from any folder, and bash is told what may stand next."""
    words = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
        "_CI_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [catalogue.ROOT / "ci" / "ci"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "_CI_COMPLETE": "bash_complete", **words},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"plain,{word}" in done.stdout.splitlines()
