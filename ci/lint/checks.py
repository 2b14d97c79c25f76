"""Runs the checks, two at a time, printing each as it ends and the reasons of failed ones last."""

import asyncio
import shutil
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Sequence
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

Check = Callable[[], Awaitable[str]]  # what is wrong; empty when nothing is


def tool(name: str) -> str:
    """The program `name` of ci's own environment."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def program(cwd: Path, *argv: str) -> Check:
    """The check that holds when a program succeeds; what it prints otherwise is what is wrong."""

    async def check() -> str:
        done = await process.run_async(argv, cwd=cwd, timeout_s=900)
        return "" if done.code == 0 else done.text or f"exited with {done.code}"

    return check


def looked_at(faults: Callable[[], Sequence[str]]) -> Check:
    """The check that holds when `faults` finds none."""

    async def check() -> str:
        return "\n".join(await asyncio.to_thread(faults))

    return check


def all_checks(catalogue: Catalogue) -> dict[str, Check]:
    """Every check by its name, the fast ones first."""
    root = catalogue.root
    dockerfiles = [str(path) for path in sorted(root.glob("*/Dockerfile"))]
    checks: dict[str, Check] = {
        "twins": looked_at(lambda: twins(catalogue)),
        "locks": looked_at(lambda: locks(catalogue)),
        "tree": looked_at(lambda: tree(catalogue)),
        "ruff": program(root, tool("ruff"), "check", "--quiet", "."),
        "format": program(root, tool("ruff"), "format", "--check", "--quiet", "."),
        "hadolint": program(root, tool("hadolint"), *dockerfiles),
    }
    for service in catalogue.services:
        folder = root / service.folder
        python = str(environments.python_of(folder))
        configured = tomllib.loads((folder / "pyproject.toml").read_text()).get("tool", {})
        if (folder / ".oxlintrc.json").exists():  # a page: JS, and the format of its CSS too
            ox = str(Path(python).parent / "ox")
            checks[f"js {service.code}"] = program(folder, f"{ox}lint", "--quiet", "src", "tests")
            checks[f"js-format {service.code}"] = program(
                folder, f"{ox}fmt", "--check", "src", "tests"
            )
        if "importlinter" in configured:
            checks[f"layers {service.code}"] = program(folder, python, "-c", LAYERS)
        named = "files" in configured.get("mypy", {})
        targets = [] if named or not service.package else [service.package]
        checks[f"mypy {service.code}"] = program(folder, python, "-m", "mypy", *targets)
    config = ["--config-file", "ci/pyproject.toml"]
    checks["mypy ci"] = program(root, sys.executable, "-m", "mypy", *config, "ci")
    checks["layers ci"] = program(root, tool("lint-imports"), "--config", "ci/pyproject.toml")
    return checks


def twins(catalogue: Catalogue) -> list[str]:
    """Faults of all twins."""
    faults = []
    for twin in catalogue.twins:
        if twin.name.endswith("/"):
            folders = {path: files_of(catalogue.root / path) for path in twin.paths}
            faults += facts.folder_faults(twin, folders)
            continue
        files = {path: catalogue.root / path for path in twin.paths}
        contents = {p: f.read_bytes() if f.is_file() else None for p, f in files.items()}
        faults += facts.twin_faults(twin, contents)
    return faults


def files_of(folder: Path) -> dict[str, bytes]:
    """The contents of all files below `folder`, by their path within it; no caches."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def locks(catalogue: Catalogue) -> list[str]:
    """Faults of all locks."""
    return [
        fault
        for path in sorted(catalogue.root.glob("*/requirements*.txt"))
        for fault in facts.lock_faults(str(path.relative_to(catalogue.root)), path.read_text())
    ]


def tree(catalogue: Catalogue) -> list[str]:
    """Faults of what git tracks."""
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
    checks = all_checks(catalogue)  # after the tools it names are there
    if wanted:
        every = list(checks)
        checks = {n: c for n, c in checks.items() if n in wanted or n.split()[0] in wanted}
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


async def _run(screen: Screen, checks: dict[str, Check]) -> dict[str, str]:
    """What is wrong, by the name of the check; each is shown as it ends."""
    slots, wrong = asyncio.Semaphore(AT_ONCE), dict[str, str]()

    async def one(name: str, check: Check) -> None:
        async with slots:
            began = time.monotonic()
            try:
                text = await check()
            except CiError as error:
                text = str(error)
            if text:
                wrong[name] = text
            mark = screen.paint("✗", "31") if text else screen.paint("✓", "32")
            screen.line(f"  {mark} {name}  {time.monotonic() - began:.1f} s")

    async with asyncio.TaskGroup() as group:
        for name, check in checks.items():
            group.create_task(one(name, check))
    return wrong
