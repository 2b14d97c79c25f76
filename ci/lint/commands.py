"""`ci lint`: two checks at a time, each told as it ends, reasons last."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ci import environments, process
from ci.context import Context
from ci.errors import CiError, Defect, UsageError
from ci.lint.advisories import NotChecked
from ci.lint.checks import FILES_ONLY, Check, all_checks
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.planning import PLAN_OPTION
from ci.screen import Screen

AT_ONCE = 2


@click.command()
@click.argument("check", nargs=-1)
@PLAN_OPTION
def lint(context: Context, check: Sequence[str], plan: Path | None) -> Outcome:
    """What can be said about the repository without running it: ruff, mypy, layers, locks, tree, …

    CHECK: some of these checks (all)
    """
    scope = planning.read(plan).lint if plan else "all"
    if scope == "none":
        return Outcome("nothing", "no file changed", {"checks": []})
    wanted: Sequence[str] = sorted(FILES_ONLY) if scope == "files" else check
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
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = pool.map(lambda name: _fault(screen, name, every[name]), chosen)
        wrong = {name: text for name, text in zip(chosen, said, strict=True) if text}
    for name, text in wrong.items():
        screen.line(f"\n{screen.paint(name, '31')}\n{text}")
    if wrong:
        text = f"{len(chosen)} checks, {len(wrong)} failed: {', '.join(wrong)}"
        raise Defect(text, checks=chosen, failed=wrong)
    return Outcome("done", f"\n{len(chosen)} checks, all hold", {"checks": chosen, "failed": {}})


def _fault(screen: Screen, name: str, check: Check) -> str:
    """What is wrong, as the check says; empty when it holds."""
    began = time.monotonic()
    try:
        if callable(check):
            text = "\n".join(check())
        else:
            done = process.run(check[1], cwd=check[0], timeout_s=900)
            text = "" if done.code == 0 else done.text or f"exited with {done.code}"
    except NotChecked as error:
        screen.line(f"  – {name}: {error}")
        return ""
    except CiError as error:
        text = str(error)
    mark = screen.paint("✗", "31") if text else screen.paint("✓", "32")
    screen.line(f"  {mark} {name}  {time.monotonic() - began:.1f} s")
    return text
