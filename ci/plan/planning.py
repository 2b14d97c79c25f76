"""`ci plan`: finds what to compare with, lets `decision` decide, hands the plan on."""

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from ci import config
from ci.bump import ledger
from ci.catalogue import find
from ci.config import Delivery, explained
from ci.context import Context
from ci.errors import Defect, Refused, UsageError
from ci.model import Ledger, Service
from ci.outcome import Outcome
from ci.plan import decision
from ci.plan import facts as build
from ci.plan.decision import Base, BuildPlan
from ci.plan.facts import BuildFacts
from ci.tools import git
from ci.tools.source_repo import SourceRepo

PLAN = TypeAdapter(BuildPlan)
FILE = click.Path(path_type=Path)
PLAN_OPTION = click.option("--plan", metavar="FILE", type=FILE, help="only what this plan asks for")


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
        parts.append(decision.service_part(service, rules, build_base, test_base, reason))
        tested.append(test_base)
    unknown = [base for base in tested if base.changed is None]
    newest = unknown[0] if unknown else functools.reduce(functools.partial(_newer, repo), tested)
    expected = context.environ.get("GIT_COMMIT")
    return BuildPlan(
        commit=facts.commit,
        tag=build.tag(delivery.publishing.tag, facts) if facts.build is not None else None,
        may_not_publish=build.may_not_publish(facts, delivery.publishing.branch, expected),
        lint=decision.lint_scope(rules, newest),
        parts=(*parts, decision.ci_part(rules, services, newest)),
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
