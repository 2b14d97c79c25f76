"""`python -m ci …`: parse, call, exit code."""

import argparse
import sys
from collections.abc import Sequence

from ci import catalogue
from ci import settings as settings_module
from ci.errors import CiError
from ci.model import Catalogue
from ci.settings import Settings


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="python -m ci",
        description="Run, test and check CloudOpsHub. `make` has the same under short names.",
        epilog="exit codes: 0 done · 2 usage · 3 refused by a rule · 4 outside fault · 5 defect",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run the platform here until Ctrl-C (settings: ci/README.md)")
    commands.add_parser("status", help="what runs: pid, port, uptime, memory, readiness")
    logs = commands.add_parser("logs", help="show and follow the logs of a run")
    logs.add_argument("process", nargs="*", help="das dis aps aps-worker ubs ui postgres (all)")
    logs.add_argument("--no-follow", action="store_true", help="only what is there")
    commands.add_parser("stop", help="stop the run, from any terminal")
    clean = commands.add_parser("clean", help="delete data, caches and environments, after asking")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    env = commands.add_parser("venvs", help="make the folders' environments")
    env.add_argument("service", nargs="*", help="folders or codes (all)")
    env.add_argument("--dev", action="store_true", help="with the development tools")
    secrets = commands.add_parser("secrets", help="write the .env of `docker compose up`, once")
    secrets.add_argument("file", nargs="?", default=".env")
    test = commands.add_parser("test", help="run the tests; one closing summary")
    test.add_argument("suite", nargs="*", help="folders or codes, ci, e2e (everything)")
    test.add_argument("--junit", metavar="FILE", help="also write JUnit XML")
    test.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="pytest's -k")
    lint = commands.add_parser("lint", help="ruff, mypy, layers, Dockerfiles, twins, locks, tree")
    lint.add_argument("check", nargs="*", help="some of these checks (all)")
    commands.add_parser("check-twins", help="files that must be identical are")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; its exit code."""
    arguments = parser().parse_args(argv)
    try:
        listed = catalogue.load()
        return dispatch(arguments, listed, settings_module.from_environment(listed))
    except CiError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def dispatch(arguments: argparse.Namespace, listed: Catalogue, settings: Settings) -> int:  # noqa: PLR0911 (one line for each command)
    """Call the command's part; parts are imported here, so that a light command starts at once."""
    match arguments.command:
        case "run":
            from ci.native import launcher  # noqa: PLC0415

            return launcher.main(listed, settings)
        case "status" | "logs" | "stop" | "clean":
            from ci.native import control  # noqa: PLC0415

            if arguments.command == "status":
                return control.status(listed, settings)
            if arguments.command == "logs":
                return control.logs(settings, arguments.process, follow=not arguments.no_follow)
            if arguments.command == "stop":
                return control.stop(settings)
            return control.clean(listed, settings, yes=arguments.yes)
        case "secrets":
            from ci.native import keys  # noqa: PLC0415

            return keys.write_env(listed.root / arguments.file)
        case "test":
            from ci.suites import run as suites  # noqa: PLC0415

            return suites.main(
                listed, settings, arguments.suite, arguments.junit, arguments.keyword
            )
        case "venvs":
            from ci.suites import run as suites  # noqa: PLC0415

            return suites.make_environments(listed, settings, arguments.service, dev=arguments.dev)
        case _:
            from ci.checks import run as checks  # noqa: PLC0415

            wanted = ["twins"] if arguments.command == "check-twins" else arguments.check
            return checks.main(listed, settings, wanted)
