"""What a change makes necessary: which folders are tested, which images built, and why. PURE.

Every folder has a base, the commit it is compared with:

    build  the commit its image in the first environment was built from   (manifest trailers)
           else the commit of the last successful build, else none: build it
    test   the same, or the last successful build where that is newer
    pull requests and other branches compare with where they left the main branch
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ci.config import PlanRules
from ci.errors import UsageError
from ci.model import Service

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


@dataclass(frozen=True)
class BuildPlan:
    """What one run does. lint: `all`, `files` (only what concerns files as such) or `none`.

    tag: of the images; None when no build number is known. may_not_publish: None when it may.
    """

    commit: str
    tag: str | None
    may_not_publish: str | None
    lint: str
    parts: tuple[Part, ...]

    def chosen(self, names: Sequence[str]) -> list[Part]:
        """The parts called `names` (codes, folders, ci), or all."""
        by_name = {name: part for part in self.parts for name in (part.folder, part.name)}
        if unknown := [name for name in names if name not in by_name]:
            listed = ", ".join(part.name for part in self.parts)
            raise UsageError(f"the plan has no {unknown[0]!r}; it has {listed}")
        return [by_name[name] for name in names] or list(self.parts)

    @property
    def builds(self) -> list[str]:
        """Codes of the images to build."""
        return [part.name for part in self.parts if part.build]

    @property
    def tests(self) -> list[str]:
        """Names of the folders to test."""
        return [part.name for part in self.parts if part.test]

    def __str__(self) -> str:
        test, build = (", ".join(names) or "nothing" for names in (self.tests, self.builds))
        tag = self.tag or "– (no build number)"
        lines = [f"test {test}; build {build}; lint {self.lint}; tag {tag}"]
        lines += [f"  {part.name:4} {why}" for part in self.parts for why in part.why]
        if self.may_not_publish:
            lines.append(f"  publishes nothing: {self.may_not_publish}")
        return "\n".join(lines)


def service_part(
    service: Service, rules: PlanRules, build_base: Base, test_base: Base, hold: str | None
) -> Part:
    """What the service needs; a base that is unknown asks for everything. hold: its reason."""
    folder = f"{service.folder}/"

    def changes_image(path: str) -> bool:
        inside = path.startswith(folder) and not _matches(path, rules.test_only)
        return inside or _matches(path, rules.widens_builds)

    def changes_tests(path: str) -> bool:
        widens = _matches(path, rules.widens_tests) and not _matches(path, rules.test_only)
        return path.startswith(folder) or widens or changes_image(path)

    build = _reasons("build", rules, build_base, changes_image)
    test = _reasons("test", rules, test_base, changes_tests)
    if build and test_base.changed is not None:
        test = ["test: what is built is tested"]
    why = [*build, *test] or [f"nothing of it changed since {build_base}"]
    if hold:
        why.append(f"held: {hold}; built, but not handed over")
    return Part(service.code, service.folder, bool(test), bool(build), tuple(why))


def ci_part(rules: PlanRules, services: Iterable[Service], base: Base) -> Part:
    """Whether ci's own tests run: they cover everything that is no service's own."""
    folders = tuple(f"{service.folder}/" for service in services)
    test = _reasons("test", rules, base, lambda path: not path.startswith(folders))
    why = test or [f"nothing changed since {base}"]
    return Part("ci", "ci", bool(test), build=False, why=tuple(why))


def lint_scope(rules: PlanRules, base: Base) -> str:
    """`none` when nothing changed, `files` when only ignored files did, else `all`."""
    if base.changed is None or not all(_matches(path, rules.ignored) for path in base.changed):
        return "all"
    return "files" if base.changed else "none"


def _reasons(what: str, rules: PlanRules, base: Base, asks: Callable[[str], bool]) -> list[str]:
    """Why to do it: the base is unknown, or these paths ask for it; empty when nothing does."""
    if base.changed is None:
        return [f"{what}: {base}"]
    paths = [path for path in base.changed if asks(path) and not _matches(path, rules.ignored)]
    if not paths:
        return []
    # what would steer a screen is a `?`
    shown = ["".join(c if c.isprintable() else "?" for c in path) for path in paths[:PATHS_NAMED]]
    more = f" and {len(paths) - PATHS_NAMED} more" if len(paths) > PATHS_NAMED else ""
    return [f"{what}: {', '.join(shown)}{more} changed since {base}"]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
