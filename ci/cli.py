"""`python -m ci …`: the table of commands, one way to call them, one way they end."""

import asyncio
import functools
import importlib
import io
import json
import os
import sys
import time
import tomllib
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ci import __version__, catalogue, environments, summary
from ci.context import Context, from_environment
from ci.errors import CiError, Defect
from ci.outcome import Outcome, as_json
from ci.screen import Screen

PROGRAM = "python -m ci"
COMPLETE = "_CI_COMPLETE"  # set by the shell that completes a line of the program `ci/ci`
EPILOG = """\
\b
exit codes
  0 done, or nothing to do (and said so)   2 usage   3 refused by a rule
  4 something outside failed; again may help   5 a defect was found

Every command has --dry-run (what would happen, with the diff) and --json (one object on stdout,
progress on stderr). ci/ci.toml says what the repository is made of and where it goes; ci/README.md
says the rest, docs/delivery.md what each status word asks of you. `make` has the daily ones under
short names."""
TABLE: Mapping[str, Mapping[str, tuple[str, str]]] = tomllib.loads(
    Path(__file__).with_name("commands.toml").read_text(encoding="utf-8")
)
LIGHT = {"native", "summary"}
"""Rooms that ci's smallest environment serves; the others need its development environment."""
ENTRIES = {name: entry for entries in TABLE.values() for name, entry in entries.items()}
COMMON = (
    click.Option(["--dry-run"], is_flag=True, help="only say what would happen"),
    click.Option(["--json", "in_json"], is_flag=True, help="one JSON object on stdout"),
)


class Commands(click.Group):
    """The table as click sees it; a command's module is imported when it is named."""

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, with what all have; None when there is none of that name."""
        return command(cmd_name) if cmd_name in ENTRIES else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a command, by group; nothing is imported for it."""
        for title, entries in TABLE.items():
            with formatter.section(title.capitalize()):
                formatter.write_dl([(name, about) for name, (_, about) in entries.items()])


@click.group(cls=Commands, commands=[click.Command(name) for name in ENTRIES], epilog=EPILOG)
@click.version_option(__version__, prog_name="ci")
def root() -> None:
    """Run, test and deliver CloudOpsHub."""


def command(name: str) -> click.Command:
    """The command `name` of the table; `CiError` when its environment cannot be made."""
    module = ENTRIES[name][0]
    if module.partition(".")[0] not in LIGHT and COMPLETE not in os.environ:
        context = _context(in_json=True)  # progress on stderr
        asyncio.run(environments.make(context.root, ["ci"], environments.DEV, context.screen))
        importlib.invalidate_caches()
    listed = getattr(importlib.import_module(f"ci.{module}"), name)
    return click.Command(
        name,
        callback=functools.partial(_run, name, listed.callback),
        params=[*listed.params, *COMMON],
        help=listed.help,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # a file name that is no UTF-8 must not end a command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        exit_code: int = root.main(
            words or ["--help"],
            "ci" if COMPLETE in os.environ else PROGRAM,
            complete_var=COMPLETE,
            standalone_mode=False,
            obj=words,
            max_content_width=100,
        )
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C
        return 130
    except CiError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    return exit_code


def _run(
    name: str, function: Callable[..., Outcome], *, dry_run: bool, in_json: bool, **options: Any
) -> int:
    """Call the command's function, write the journal of a build, tell; the exit code."""
    ended: Outcome | CiError
    context, began = None, time.monotonic()
    try:
        context = _context(dry_run=dry_run, in_json=in_json)
        ended = function(context, **options)
    except CiError as error:
        ended = error
    except Exception as error:  # noqa: BLE001 (whatever it is, the exit code has to be a class)
        traceback.print_exc()
        ended = Defect(f"ci itself failed: {error!r}", status="ci_defect")
    if context and "BUILD_NUMBER" in context.environ and not dry_run:
        words, took_s = click.get_current_context().obj, time.monotonic() - began
        summary.record(context, name, words, ended, took_s)
    said, stream = str(ended), sys.stdout
    if in_json:
        facts = {**as_json(name, ended), "dry_run": dry_run, **ended.facts}
        said = json.dumps(facts, indent=2, ensure_ascii=False)
    elif ended.exit_code:
        said, stream = f"\n{ended}", sys.stderr
    try:
        print(said, end="\n" if said else "", file=stream, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; Python must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ended.exit_code


def _context(*, dry_run: bool = False, in_json: bool = False) -> Context:
    listed = catalogue.load()
    set_to = from_environment(listed)
    screen = Screen(stream=sys.stderr if in_json else sys.stdout, colour=set_to.colour)
    return Context(listed, set_to, os.environ, screen, dry_run)
