"""Runs the checks, two at a time, printing each as it ends and the reasons of failed ones last."""

import asyncio
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ci import environments, process
from ci.context import Context
from ci.errors import CiError, Defect, UsageError
from ci.lint import facts
from ci.model import Catalogue
from ci.outcome import Outcome
from ci.screen import Screen

AT_ONCE = 2
FILES_ONLY = {"twins", "locks", "tree"}  # need no environment
LAYERS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"

Check = Callable[[], Sequence[str]] | tuple[Path, Sequence[str]]
"""What finds faults, or a folder and the command that succeeds there when nothing is wrong."""


def tool(name: str) -> str:
    """The program `name` of ci's own environment."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def all_checks(catalogue: Catalogue) -> dict[str, Check]:
    """Every check by its name, the fast ones first."""
    root = catalogue.root
    dockerfiles = [str(path) for path in sorted(root.glob("*/Dockerfile"))]
    checks: dict[str, Check] = {
        "twins": lambda: _twin_faults(catalogue),
        "locks": lambda: _lock_faults(root),
        "tree": lambda: _tree_faults(catalogue),
        "ruff": (root, [tool("ruff"), "check", "--quiet", "."]),
        "format": (root, [tool("ruff"), "format", "--check", "--quiet", "."]),
        "hadolint": (root, [tool("hadolint"), *dockerfiles]),
    }
    for service in catalogue.services:
        code, folder = service.code, root / service.folder
        python = str(environments.python_of(folder))
        configured = tomllib.loads((folder / "pyproject.toml").read_text()).get("tool", {})
        if (folder / ".oxlintrc.json").exists():  # a page: JS, and the format of its CSS too
            ox = str(Path(python).parent / "ox")
            checks[f"js {code}"] = (folder, [f"{ox}lint", "--quiet", "src", "tests"])
            checks[f"js-format {code}"] = (folder, [f"{ox}fmt", "--check", "src", "tests"])
        if "importlinter" in configured:
            checks[f"layers {code}"] = (folder, [python, "-c", LAYERS])
        named = "files" in configured.get("mypy", {})
        targets = [] if named or not service.package else [service.package]
        checks[f"mypy {code}"] = (folder, [python, "-m", "mypy", *targets])
    config = "ci/pyproject.toml"
    checks["mypy ci"] = (root, [sys.executable, "-m", "mypy", "--config-file", config, "ci"])
    checks["layers ci"] = (root, [tool("lint-imports"), "--config", config])
    return checks


def _twin_faults(catalogue: Catalogue) -> list[str]:
    return [
        fault
        for twin in catalogue.twins
        for fault in facts.twin_faults(
            twin, {path: _contents(catalogue.root / path) for path in twin.paths}
        )
    ]


def _contents(place: Path) -> dict[str, bytes]:
    """The files below a folder, without caches; or the file itself, called ""."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _lock_faults(root: Path) -> list[str]:
    locks = sorted(root.glob("*/requirements*.txt"))
    return [
        fault
        for path in locks
        for fault in facts.lock_faults(str(path.relative_to(root)), path.read_text())
    ]


def _tree_faults(catalogue: Catalogue) -> list[str]:
    done = process.run(["git", "ls-files", "--cached", "-z"], cwd=catalogue.root)
    if done.code != 0:
        return [done.text]
    return facts.tree_faults(catalogue, [path for path in done.stdout.split("\0") if path])


def main(context: Context, wanted: Sequence[str]) -> Outcome:
    """The checks whose name begins with one of `wanted`, or all, hold; `Defect` has the rest."""
    catalogue, screen = context.catalogue, context.screen
    if (not wanted or set(wanted) - FILES_ONLY) and not context.dry_run:
        folders = [*(service.folder for service in catalogue.services), "ci"]
        asyncio.run(environments.make(catalogue.root, folders, environments.DEV, screen))
    every = all_checks(catalogue)  # after the tools it names are there
    checks = {
        name: check
        for name, check in every.items()
        if not wanted or name in wanted or name.split()[0] in wanted
    }
    if not checks:
        raise UsageError(f"no such check; there are {', '.join(every)}")
    names = list(checks)
    if context.dry_run:
        return Outcome("done", f"would check: {', '.join(names)}", {"checks": names})
    wrong = asyncio.run(_run(screen, checks))
    for name, text in wrong.items():
        screen.line(f"\n{screen.paint(name, '31')}\n{text}")
    if wrong:
        text = f"{len(checks)} checks, {len(wrong)} failed: {', '.join(wrong)}"
        raise Defect(text, checks=names, failed=wrong)
    return Outcome("done", f"\n{len(checks)} checks, all hold", {"checks": names, "failed": {}})


async def _run(screen: Screen, checks: Mapping[str, Check]) -> dict[str, str]:
    """What is wrong, by the name of the check; each is shown as it ends."""
    slots, wrong = asyncio.Semaphore(AT_ONCE), dict[str, str]()

    async def run_one(name: str, check: Check) -> None:
        async with slots:
            began = time.monotonic()
            try:
                text = await _faults(check)
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


async def _faults(check: Check) -> str:
    if callable(check):
        return "\n".join(await asyncio.to_thread(check))
    folder, command = check
    done = await process.run_async(command, cwd=folder, timeout_s=900)
    return "" if done.code == 0 else done.text or f"exited with {done.code}"
