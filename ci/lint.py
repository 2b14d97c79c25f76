"""`ci lint`: what can be said of the repository without running it; two checks at a time."""

import asyncio
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import click
import httpx

from ci import config, environments, process, scan
from ci.context import Context
from ci.errors import CiError, Defect, OutsideFault, UsageError
from ci.model import Catalogue, Twin
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.planning import PLAN_OPTION
from ci.screen import Screen

AT_ONCE = 2
FILES_ONLY = {"twins", "locks", "tree"}  # need no environment
LAYERS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
ADDRESS = re.compile(
    r"^\s*(?:-i\b|-f\b|--(?:extra-)?index-url|--find-links)|://|\bfile:", re.MULTILINE
)
PIN = re.compile(r"^(?!#|\s|$)(?P<name>[A-Za-z0-9._\[\],-]+)\s*(?P<rest>.*)$", re.MULTILINE)
EXACT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
OSV, OSV_S, PACKAGES_MAX = "https://api.osv.dev", 5.0, 1000  # of one request

Check = Callable[[], Sequence[str]] | tuple[Path, Sequence[str]]
"""What finds faults, or a folder and the command that succeeds there when nothing is wrong."""


class NotChecked(OutsideFault):
    """A check that could not be made here; it is said, and nothing fails."""


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
    every = all_checks(context)  # after the tools it names are there
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


def all_checks(context: Context) -> dict[str, Check]:
    """Every check by its name, the fast ones first."""
    catalogue, root, settings = context.catalogue, context.root, "ci/pyproject.toml"

    def tool(name: str) -> str:
        """The program of ci's own environment."""
        return shutil.which(name, path=str(Path(sys.executable).parent)) or name

    dockerfiles = [str(path) for path in sorted(root.glob("*/Dockerfile"))]
    checks: dict[str, Check] = {
        "twins": lambda: [fault for twin in catalogue.twins for fault in _twin(root, twin)],
        "locks": lambda: [
            fault
            for path in sorted(root.glob("*/requirements*.txt"))
            for fault in lock_faults(str(path.relative_to(root)), path.read_text())
        ],
        "tree": lambda: _tree(catalogue),
        "ruff": (root, [tool("ruff"), "check", "--quiet", "."]),
        "format": (root, [tool("ruff"), "format", "--check", "--quiet", "."]),
        "hadolint": (root, [tool("hadolint"), *dockerfiles]),
        "advisories": lambda: _advisories(context),
        "mypy ci": (root, [sys.executable, "-m", "mypy", "--config-file", settings, "ci"]),
        "layers ci": (root, [tool("lint-imports"), "--config", settings]),
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
        is_named = "files" in configured.get("mypy", {})
        targets = [] if is_named or not service.package else [service.package]
        checks[f"mypy {code}"] = (folder, [python, "-m", "mypy", *targets])
    return checks


def _twin(root: Path, twin: Twin) -> list[str]:
    def contents(place: Path) -> dict[str, bytes]:
        """The files below a folder, without caches; or the file itself, called ""."""
        if place.is_file():
            return {"": place.read_bytes()}
        return {
            path.relative_to(place).as_posix(): path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    return twin_faults(twin, {path: contents(root / path) for path in twin.paths})


def _advisories(context: Context) -> list[str]:
    root = context.root
    locks = [f"{service.folder}/requirements.txt" for service in context.catalogue.services]
    file = root / config.load(context.catalogue, context.environ).scan.waivers
    texts = {lock: (root / lock).read_text() for lock in locks}
    return advisories(texts, scan.waivers(file), context.now().date())


def _tree(catalogue: Catalogue) -> list[str]:
    done = process.run(["git", "ls-files", "--cached", "-z"], cwd=catalogue.root)
    if done.code != 0:
        return [done.text]
    return tree_faults(catalogue, [path for path in done.stdout.split("\0") if path])


def twin_faults(twin: Twin, files: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """Places where the twin is missing, differs from what most hold, or stands alone in a folder.

    files: by each path of the twin, its files by their path within it; a file that is no folder has
    one, called "".
    """
    faults = [f"{path} is missing (a twin)" for path in twin.paths if not files.get(path)]
    for name in sorted({name for contents in files.values() for name in contents}):
        places = {f"{path}{name}": texts[name] for path, texts in files.items() if name in texts}
        versions = list(places.values())
        usual = max(versions, key=versions.count)
        like = next(place for place, content in places.items() if content == usual)
        different = [place for place, content in places.items() if content != usual]
        faults += [f"{place} differs from its twin {like}" for place in different]
        if name and len(places) == 1:
            faults.append(f"{like} has no twin: what one service needs is its own")
    return faults


def lock_faults(path: str, text: str) -> list[str]:
    """Addresses in a lock, pins that are not exact, and pins without a hash."""
    faults = [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: an address has no place in a lock"
        for match in ADDRESS.finditer(text)
    ]
    for match in PIN.finditer(text.replace("\\\n", " ")):
        if not match["rest"].startswith("=="):
            faults.append(f"{path}: {match['name']} is not pinned to one version")
        elif "--hash=sha256:" not in match["rest"]:
            faults.append(f"{path}: {match['name']} has no hash")
    return faults


def tree_faults(catalogue: Catalogue, tracked: Iterable[str]) -> list[str]:
    """Top-level names that nobody listed, and services without what every service has."""
    paths = set(tracked)
    strange = sorted({path.split("/", 1)[0] for path in paths} - catalogue.top_level)
    faults = [f"{name}: not among the names of the top level (ci/ci.toml)" for name in strange]
    for service in catalogue.services:
        names = ["Dockerfile", ".dockerignore", "README.md", "pyproject.toml"]
        names += ["requirements.txt", "requirements-dev.txt"]
        if service.package:
            names.append(f"tests/test_{service.code}.py")
        wanted = [f"{service.folder}/{name}" for name in names]
        faults += [f"{path} is missing" for path in wanted if path not in paths]
    return faults


def advisories(
    locks: Mapping[str, str], waivers: Sequence[scan.Waiver], today: date, address: str = OSV
) -> list[str]:
    """Advisories about what `locks` pin (text by path), but for those that a waiver covers today.

    As https://osv.dev knows them. Names and versions leave this machine, nothing else. `NotChecked`
    without an answer.
    """
    pins = sorted({(*pin, path) for path, text in locks.items() for pin in EXACT.findall(text)})
    answers = []
    for start in range(0, len(pins), PACKAGES_MAX):
        queries = [
            {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
            for name, version, _ in pins[start : start + PACKAGES_MAX]
        ]
        try:
            answer = httpx.post(
                f"{address}/v1/querybatch", json={"queries": queries}, timeout=OSV_S
            ).raise_for_status()
            answers += answer.json()["results"]
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            raise NotChecked(f"not audited: {address} gives no answer ({exc})") from exc
    waived = {(waiver.id, waiver.package) for waiver in waivers if waiver.expires >= today}
    return [
        f"{path}: {name} {version} has {advisory['id']}: https://osv.dev/{advisory['id']}"
        for (name, version, path), answer in zip(pins, answers, strict=True)
        for advisory in answer.get("vulns", ())
        if not {(advisory["id"], None), (advisory["id"], name)} & waived
    ]
