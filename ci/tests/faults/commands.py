"""`ci faults`."""

import random
from collections.abc import Sequence

import click

from ci.context import Context
from ci.errors import Defect
from ci.outcome import Outcome
from ci.tests.faults.faults import FAULTS, ON_A_SMALL_DISK
from ci.tests.faults.hub import Hub
from ci.tests.faults.run import run, table

ONLY = "these faults (all but those that need a data folder on a small disk of its own)"


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0, 1440), default=10, show_default=True, help="how long"
)
@click.option("--only", type=click.Choice([*FAULTS, *ON_A_SMALL_DISK]), multiple=True, help=ONLY)
@click.option("--seed", type=int, help="the order of the faults; a new one unless given")
def faults(context: Context, minutes: float, only: Sequence[str], seed: int | None) -> Outcome:
    """Break the platform that runs here, again and again, and prove that nothing is lost.

    While four writers write, processes are killed and frozen, database sessions end, uploads are
    cut and stalled. Afterwards every sample is read back and compared with what was acknowledged.
    Run it against a hub of its own (CLOUDOPSHUB_DATA_DIR), never against one that people use.
    """
    hub, chosen = Hub(context.settings.data_dir), list(only or FAULTS)
    seed = random.randrange(1 << 31) if seed is None else seed
    if context.dry_run:
        return Outcome("planned", f"{minutes:g} minutes of: {', '.join(chosen)}")
    context.screen.line(f"{len(chosen)} faults for {minutes:g} minutes, seed {seed}")
    events, ledger, verdict = run(hub, chosen, minutes * 60, seed, context.screen)
    report = table(events, ledger.acknowledged, verdict)
    if verdict:
        raise Defect(f"the store and the ledger differ (seed {seed}):\n{report}", status="differs")
    return Outcome("held", report, {"seed": seed, "refused": dict(ledger.refused)})
