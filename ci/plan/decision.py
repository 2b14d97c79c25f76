"""What a change makes necessary: which folders are tested, which images built, and why. PURE.

Every folder has a base, the commit it is compared with:

    build  the commit its image in the first environment was built from   (manifest trailers)
           else the commit of the last successful build, else none: build it
    test   the same, or the last successful build where that is newer
    pull requests and other branches compare with where they left the main branch
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from ci.config import PlanRules
from ci.model import Service

CI = "ci"
PATHS_NAMED = 3


@dataclass(frozen=True)
class Base:
    """A commit to compare with, and where it was found. changed: None when it is not known here."""

    commit: str | None
    source: str
    changed: Sequence[str] | None

    def __str__(self) -> str:
        return f"{self.source} {self.commit[:8]}" if self.commit else self.source


@dataclass(frozen=True)
class Part:
    """One folder in a plan. why: a line for each reason, also for doing nothing."""

    name: str
    folder: str
    test: bool
    build: bool
    why: tuple[str, ...]
    base: str | None
    hold: str | None = None


@dataclass(frozen=True)
class BuildPlan:
    """What one run does. lint: `all`, `files` (only what concerns files as such) or `none`.

    tag: of the images; None when no build number is known. may_not_publish: None when it may.
    """

    commit: str
    run_id: str
    tag: str | None
    may_not_publish: str | None
    lint: str
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """The part with that code or folder; `KeyError` when the plan does not know it."""
        for part in self.parts:
            if name in {part.name, part.folder}:
                return part
        raise KeyError(name)

    @property
    def builds(self) -> list[str]:
        """Codes of the images to build."""
        return [part.name for part in self.parts if part.build]

    @property
    def tests(self) -> list[str]:
        """Names of the folders to test."""
        return [part.name for part in self.parts if part.test]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `plan.json`."""
        return asdict(self) | {"parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BuildPlan":
        """The reverse of `to_json`; `KeyError` or `TypeError` when it is not one."""
        parts = tuple(Part(**(part | {"why": tuple(part["why"])})) for part in data["parts"])
        return cls(**(dict(data) | {"parts": parts}))


@dataclass(frozen=True)
class Reasons:
    """Paths that ask for a test and paths that ask for a build."""

    test: tuple[str, ...]
    build: tuple[str, ...]


def reasons(rules: PlanRules, folder: str, changed: Iterable[str]) -> Reasons:
    """Which of the changed paths concern the service in `folder`, and how."""
    test, build = [], []
    for path in changed:
        if _matches(path, rules.ignored):
            continue
        inside = path.startswith(f"{folder}/")
        for_tests = _matches(path, rules.test_only)
        if (inside and not for_tests) or _matches(path, rules.widens_builds):
            build.append(path)
        elif inside or (_matches(path, rules.widens_tests) and not for_tests):
            test.append(path)
    return Reasons(tuple(test), tuple(build))


def service_part(
    service: Service, rules: PlanRules, build_base: Base, test_base: Base, hold: str | None
) -> Part:
    """What the service needs; a base that is unknown asks for everything."""
    why = []
    build = test = False
    if build_base.changed is None:
        build = True
        why.append(f"build: {build_base}")
    elif paths := reasons(rules, service.folder, build_base.changed).build:
        build = True
        why.append(f"build: {named(paths)} changed since {build_base}")
    if test_base.changed is None:
        test = True
        why.append(f"test: {test_base}")
    elif build:
        test = True
        why.append("test: what is built is tested")
    else:
        wanted = reasons(rules, service.folder, test_base.changed)
        if paths := (*wanted.build, *wanted.test):
            test = True
            why.append(f"test: {named(paths)} changed since {test_base}")
    if not why:
        why.append(f"nothing of it changed since {build_base}")
    if hold:
        why.append(f"held: {hold}; built, but not handed over")
    return Part(service.code, service.folder, test, build, tuple(why), build_base.commit, hold)


def ci_part(rules: PlanRules, services: Iterable[Service], base: Base) -> Part:
    """Whether ci's own tests run: they cover everything that is no service's own."""
    folders = tuple(f"{service.folder}/" for service in services)
    if base.changed is None:
        return Part(CI, CI, True, False, (f"test: {base}",), base.commit)
    paths = [
        path
        for path in base.changed
        if not path.startswith(folders) and not _matches(path, rules.ignored)
    ]
    why = f"test: {named(paths)} changed since {base}" if paths else f"nothing changed since {base}"
    return Part(CI, CI, bool(paths), False, (why,), base.commit)


def lint_scope(rules: PlanRules, base: Base) -> str:
    """`none` when nothing changed, `files` when only ignored files did, else `all`."""
    if base.changed is None:
        return "all"
    if not base.changed:
        return "none"
    return "files" if all(_matches(path, rules.ignored) for path in base.changed) else "all"


def named(paths: Sequence[str]) -> str:
    """The first few of `paths`, and how many more there are; what would steer a screen is a `?`."""
    more = len(paths) - PATHS_NAMED
    shown = ["".join(c if c.isprintable() else "?" for c in path) for path in paths[:PATHS_NAMED]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
