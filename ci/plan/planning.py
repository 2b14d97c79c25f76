"""`ci plan`: what a change makes necessary: which folders are tested, which images built, and why.

Every folder has a base, the commit it is compared with:

    build  the commit its image in the first environment was built from   (manifest trailers)
           else the commit of the last successful build, else none: build it
    test   the same, or the last successful build where that is newer
    pull requests and other branches compare with where they left the main branch
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from ci import config
from ci.bump import ledger
from ci.catalogue import find
from ci.config import Delivery, PlanRules, explained
from ci.context import Context
from ci.errors import Defect, Refused, UsageError
from ci.model import Ledger, Service
from ci.outcome import Outcome
from ci.plan import facts as build
from ci.plan.facts import BuildFacts
from ci.tools import git
from ci.tools.source_repo import SourceRepo

FILE = click.Path(path_type=Path)
PLAN_OPTION = click.option("--plan", metavar="FILE", type=FILE, help="only what this plan asks for")
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


PLAN = TypeAdapter(BuildPlan)


@click.command()
@click.option("--out", metavar="FILE", type=FILE, help="(.cache/ci/plan.json)")
def plan(context: Context, out: Path | None) -> Outcome:
    """Decides which folders to test and which images to build, says why, and writes the plan.

    On the main branch a service is compared with the commit its deployed image was built from,
    which the trailers of the manifest repository tell; else with the last successful build; else
    everything is done. Pull requests and branches compare with where they left the main branch, and
    need no credentials. Files that all services depend on widen the plan: [plan] in ci/ci.toml.
    """
    delivery = config.load(context.catalogue, context.environ)
    return main(context, delivery, out or context.handed_on / "plan.json")


def main(context: Context, delivery: Delivery, file: Path) -> Outcome:
    """The plan of this build, written to `file`; `nothing` when nothing is tested or built."""
    facts, deployed = build.gather(context), Ledger()
    # off the main branch nothing is compared with what runs, and there are no credentials to ask
    if facts.is_main(delivery.publishing.branch) and delivery.manifests.url:
        with git.checkout(delivery.manifests, context.environ) as manifests:
            deployed = ledger.read(manifests.history())
    decided = decide(context, delivery, deployed, facts, SourceRepo(context.root))
    if not context.dry_run:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PLAN.dump_json(decided, indent=2))
    status = "planned" if decided.tests or decided.builds else "nothing"
    return Outcome(status, str(decided), {"plan": asdict(decided)})


def decide(
    context: Context, delivery: Delivery, deployed: Ledger, facts: BuildFacts, repo: SourceRepo
) -> BuildPlan:
    """The plan, from what is deployed, what was built before, what changed."""
    services, rules, first = context.catalogue.services, delivery.plan, delivery.first.name
    before = _built_before(repo, facts, delivery.publishing.branch)
    parts, tested = [], []
    for service in services:
        build_base = before
        if runs := deployed.running(first, service.code):
            build_base = _base(repo, runs.source_commit, f"what {first} runs,")
        test_base = _newer(repo, build_base, before)
        hold = deployed.holds.get((first, service.code))
        reason = hold.reason if hold else None
        parts.append(service_part(service, rules, build_base, test_base, reason))
        tested.append(test_base)
    unknown = [base for base in tested if base.changed is None]
    newest = unknown[0] if unknown else functools.reduce(functools.partial(_newer, repo), tested)
    expected = context.environ.get("GIT_COMMIT")
    return BuildPlan(
        commit=facts.commit,
        tag=build.tag(delivery.publishing.tag, facts) if facts.build is not None else None,
        may_not_publish=build.may_not_publish(facts, delivery.publishing.branch, expected),
        lint=lint_scope(rules, newest),
        parts=(*parts, ci_part(rules, services, newest)),
    )


def read(file: Path) -> BuildPlan:
    """The plan in `file`."""
    try:
        return PLAN.validate_json(file.read_bytes())
    except OSError as exc:
        raise UsageError(f"no plan: {exc}; `python -m ci plan` writes one") from exc
    except ValidationError as exc:
        raise Defect(f"{file} is not a plan:\n  {explained(exc)}") from exc


def chosen(context: Context, names: Sequence[str], file: Path | None) -> tuple[list[Service], str]:
    """The services that the command line or the plan asks for; when none, why not."""
    if file is None:
        services = [find(context.catalogue, name) for name in names]
        return services or list(context.catalogue.services), ""
    decided, commit = read(file), SourceRepo(context.root).commit
    if decided.commit != commit:
        text = f"{file} is for commit {decided.commit[:12]}, here is {commit[:12]}; plan again"
        raise Refused(text, status="stale_plan")
    wanted = decided.chosen(names)
    services = [context.catalogue.service(part.name) for part in wanted if part.build]
    whys = [f"{part.name}: {why}" for part in wanted for why in part.why]
    return services, "\n".join(["the plan builds no image", *whys])


def _built_before(repo: SourceRepo, facts: BuildFacts, main_branch: str) -> Base:
    """Where a branch left its target; on the main branch, the last successful build."""
    if not facts.is_main(main_branch):
        target = facts.change_target or main_branch
        if commit := repo.branched_off(target):
            return _base(repo, commit, f"it left {target} at")
        return Base(
            None, f"this clone does not know {target}, so there is nothing to compare", None
        )
    if facts.previous_success:
        return _base(repo, facts.previous_success, "the last successful build")
    return Base(None, "nothing was ever deployed or built before, as far as is known", None)


def _base(repo: SourceRepo, commit: str, source: str) -> Base:
    changed = repo.changed_since(commit)
    if changed is None:
        text = f"{source} {commit[:8]} is not in this clone (shallow, or rewritten)"
        return Base(None, text, None)
    return Base(commit, source, changed)


def _newer(repo: SourceRepo, base: Base, other: Base) -> Base:
    """`other` where it is known and contains `base`, else `base`."""
    if base.commit and other.commit and repo.is_ancestor(base.commit, other.commit):
        return other
    return base


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
