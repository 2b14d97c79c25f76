"""`ci test`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ci.context import Context
from ci.outcome import Outcome
from ci.plan import planning
from ci.test import run


@click.command()
@click.argument("suite", nargs=-1)
@click.option(
    "--junit", metavar="FILE", type=click.Path(path_type=Path), help="(.cache/ci/junit/NAMES.xml)"
)
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="only what this plan asks for"
)
@click.option("-k", "keyword", metavar="EXPRESSION", help="pytest's -k")
def test(
    context: Context,
    suite: Sequence[str],
    junit: Path | None,
    plan: Path | None,
    keyword: str | None,
) -> Outcome:
    """Runs tests as each folder's own pytest, in the environment its lock makes.

    Without names: everything, units first, the running platform last. With --plan, a folder that
    the plan does not ask for is nothing to do. A suite that collects no test has failed. JUnit XML
    is always written.

    SUITE: folders or codes, ci, e2e (everything)
    """
    wanted = list(suite)
    if plan:
        parts = planning.parts(planning.read(plan), wanted)
        wanted = [part.name for part in parts if part.test]
        if not wanted:
            lines = [f"{part.name}: {why}" for part in parts for why in part.why]
            return Outcome("nothing", "\n".join(lines), {"suites": []})
    junit = junit or context.handed_on / "junit" / f"{'-'.join(wanted) or 'all'}.xml"
    return run.main(context, wanted, junit, keyword)
