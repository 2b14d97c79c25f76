"""`python -m ci …`: parse, call, tell, exit code."""

import argparse
import asyncio
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ci import catalogue, environments, journal
from ci import settings as settings_module
from ci.context import Context
from ci.errors import CiError, Defect
from ci.outcome import Outcome, as_json
from ci.screen import Screen

GROUPS = {
    "the platform on this machine": ("run", "ps", "logs", "stop", "clean", "venvs", "secrets"),
    "a change": ("plan", "test", "lint", "check-twins"),
    "from a change to a release": ("build", "push", "scan"),
    "from a release to a cluster": ("bump", "resume", "promote", "rollback", "release"),
    "what is where": ("status", "summary", "retention"),
    "by hand, and at home": ("set-image", "scaffold", "local"),
}
EPILOG = """\
exit codes
  0 done, or nothing to do (and said so)   2 usage   3 refused by a rule
  4 something outside failed; again may help   5 a defect was found

every command has --dry-run (what would happen, with the diff) and --json (one object on stdout,
progress on stderr). ci/ci.toml says what the repository is made of and where it goes; ci/README.md
says the rest, docs/delivery.md what each status word asks of you. `make` has the daily ones under
short names."""


def command_module(name: str) -> ModuleType:
    """The module of the command `name`."""
    return importlib.import_module(f"ci.commands.{name.replace('-', '_')}")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    modules = {name: command_module(name) for names in GROUPS.values() for name in names}
    listing = "\n".join(
        f"{group}\n" + "\n".join(f"  {name:12} {modules[name].HELP}" for name in names)
        for group, names in GROUPS.items()
    )
    root = argparse.ArgumentParser(
        prog="python -m ci",
        usage="python -m ci COMMAND [--dry-run] [--json] …   (COMMAND --help tells more)",
        description=f"Run, test and deliver CloudOpsHub.\n\n{listing}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(
        dest="command", required=True, prog="python -m ci", help=argparse.SUPPRESS
    )
    for name, module in modules.items():
        each = commands.add_parser(
            name,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(each)
        each.add_argument("--dry-run", action="store_true", help="only say what would happen")
        each.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # no name of a file may end a command by being told
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(words)
    module = command_module(arguments.command)
    ended: Outcome | CiError
    try:
        context = _context(arguments)
    except CiError as error:
        return _tell(arguments, error)
    try:
        if getattr(module, "DELIVERS", False):
            _equip(context, words)
        ended = module.main(arguments, context)
    except CiError as error:
        ended = error
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (whatever it is, the exit code has to be a class)
        traceback.print_exc()
        ended = Defect(f"ci itself failed: {error!r}", status="ci_defect")
    if "BUILD_NUMBER" in context.environ and not arguments.dry_run:
        journal.record(context, arguments.command, words, ended)
    return _tell(arguments, ended)


def _tell(arguments: argparse.Namespace, ended: Outcome | CiError) -> int:
    """Say how the command ended; its exit code."""
    try:
        if arguments.json:
            print(as_json(arguments.command, ended, dry_run=arguments.dry_run), flush=True)
        elif isinstance(ended, CiError):
            print(f"\n{ended}", file=sys.stderr)
        elif ended.text:
            print(ended.text, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; Python must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ended.exit_code if isinstance(ended, CiError) else 0


def _context(arguments: argparse.Namespace) -> Context:
    listed = catalogue.load()
    settings = settings_module.from_environment(listed)
    stream = sys.stderr if arguments.json else sys.stdout
    return Context(
        catalogue=listed,
        settings=settings,
        environ=os.environ,
        screen=Screen(stream=stream, colour=settings.colour),
        dry_run=arguments.dry_run,
    )


def _equip(context: Context, argv: Sequence[str]) -> None:
    """This Python holds what delivery needs; another one hands over to that of ci/.venv.

    ci's environment may not be there yet, or may have been made only to run the platform.
    """
    own = context.root / "ci" / ".venv"
    stands_in = Path(sys.prefix).resolve() == own.resolve()
    if stands_in or not (own / environments.STAMP).exists():
        asyncio.run(environments.make(context.root, ["ci"], environments.DEV, context.screen))
        importlib.invalidate_caches()
    if not stands_in:
        python = environments.python_of(context.root / "ci")
        os.execv(python, [str(python), "-m", "ci", *argv])  # noqa: S606 (no shell is meant)
