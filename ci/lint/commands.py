"""`ci lint`, `ci check-twins`: two checks at a time, each told as it ends, reasons last."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ci import environments, process
from ci.context import Context
from ci.errors import CiError, Defect, UsageError
from ci.lint.advisories import NotChecked
from ci.lint.checks import FILES_ONLY, Check, all_checks
from ci.outcome import Outcome
from ci.plan import planning
from ci.screen import Screen

AT_ONCE = 2


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
            wanted = sorted(FILES_ONLY)
    return _check(context, wanted)


@click.command()
def check_twins(context: Context) -> Outcome:
    """The files that must be identical are; ci.toml lists them."""
    return _check(context, ["twins"])


def _check(context: Context, wanted: Sequence[str]) -> Outcome:
    """The checks whose name begins with one of `wanted`, or all, hold; `Defect` has the rest."""
    catalogue, screen = context.catalogue, context.screen
    if (not wanted or set(wanted) - FILES_ONLY) and not context.dry_run:
        folders = [*(service.folder for service in catalogue.services), "ci"]
        asyncio.run(environments.make(catalogue.root, folders, environments.DEV, screen))
    every = all_checks(catalogue, context.environ)  # after the tools it names are there
    chosen = [name for name in every if not wanted or {name, name.split()[0]} & set(wanted)]
    if not chosen:
        raise UsageError(f"no such check; there are {', '.join(every)}")
    if context.dry_run:
        return Outcome("done", f"would check: {', '.join(chosen)}", {"checks": chosen})
    wrong = asyncio.run(_faults(screen, {name: every[name] for name in chosen}))
    for name, text in wrong.items():
        screen.line(f"\n{screen.paint(name, '31')}\n{text}")
    if wrong:
        text = f"{len(chosen)} checks, {len(wrong)} failed: {', '.join(wrong)}"
        raise Defect(text, checks=chosen, failed=wrong)
    return Outcome("done", f"\n{len(chosen)} checks, all hold", {"checks": chosen, "failed": {}})


async def _faults(screen: Screen, checks: dict[str, Check]) -> dict[str, str]:
    """What is wrong, by the name of the check; each is shown as it ends."""
    slots, wrong = asyncio.Semaphore(AT_ONCE), dict[str, str]()

    async def run_one(name: str, check: Check) -> None:
        async with slots:
            began = time.monotonic()
            try:
                text = await _fault(check)
            except NotChecked as error:
                screen.line(f"  – {name}: {error}")
                return
            except CiError as error:
                text = str(error)
            if text:
                wrong[name] = text
            mark = screen.paint("✗", "31") if text else screen.paint("✓", "32")
            screen.line(f"  {mark} {name}  {time.monotonic() - began:.1f} s")

    async with asyncio.TaskGroup() as group:
        for name, check in checks.items():
            group.create_task(run_one(name, check))
    return wrong


async def _fault(check: Check) -> str:
    if callable(check):
        return "\n".join(await asyncio.to_thread(check))
    folder, command = check
    done = await process.run_async(command, cwd=folder, timeout_s=900)
    return "" if done.code == 0 else done.text or f"exited with {done.code}"
