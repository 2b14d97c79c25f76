"""`ci lint`, `ci check-twins`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ci.context import Context
from ci.lint import checks
from ci.outcome import Outcome
from ci.plan import planning


@click.command()
@click.argument("check", nargs=-1)
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="as much as this plan asks for"
)
def lint(context: Context, check: Sequence[str], plan: Path | None) -> Outcome:
    """What can be said about the repository without running it: ruff, mypy, layers, locks, tree, …

    CHECK: some of these checks (all)
    """
    wanted = list(check)
    if plan:
        scope = planning.read(plan).lint
        if scope == "none":
            return Outcome("nothing", "no file changed", {"checks": []})
        if scope == "files":
            wanted = sorted(checks.FILES_ONLY)
    return checks.main(context, wanted)


@click.command()
def check_twins(context: Context) -> Outcome:
    """The files that must be identical are; ci.toml lists them."""
    return checks.main(context, ["twins"])
