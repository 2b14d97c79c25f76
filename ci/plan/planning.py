"""`ci plan`: finds what to compare with, lets `decision` decide, hands the plan on."""

import json
from collections.abc import Sequence
from pathlib import Path

from ci.bump import manifest_repo
from ci.catalogue import find
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, Refused, UsageError
from ci.model import Ledger, Service
from ci.outcome import Outcome
from ci.plan import build_facts, decision
from ci.plan import facts as build
from ci.plan.build_facts import BuildFacts
from ci.plan.decision import Base, BuildPlan, Part
from ci.tools.source_repo import SourceRepo

NOTHING_KNOWN = "nothing was ever deployed or built before, as far as is known"


def main(context: Context, delivery: Delivery, file: Path) -> Outcome:
    """The plan of this build, written to `file`; `nothing` when nothing is tested or built."""
    repo, facts = SourceRepo(context.root), build.gather(context)
    decided = decide(context, delivery, _ledger(context, delivery, facts), facts, repo)
    if not context.dry_run:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(decided.to_json(), indent=2), encoding="utf-8")
    busy = decided.tests or decided.builds
    return Outcome(
        "planned" if busy else "nothing", described(decided), {"plan": decided.to_json()}
    )


def _ledger(context: Context, delivery: Delivery, facts: BuildFacts) -> Ledger | None:
    """What the manifests say runs; None off the main branch, which needs no credentials for it."""
    if not facts.is_main(delivery.branch) or not delivery.manifests.url:
        return None
    with manifest_repo.checkout(delivery.manifests, context.environ) as manifests:
        return manifests.ledger()


def decide(
    context: Context,
    delivery: Delivery,
    deployed: Ledger | None,
    facts: BuildFacts,
    repo: SourceRepo,
) -> BuildPlan:
    """The plan, from what is deployed (None: not asked), what was built before, what changed."""
    services = context.catalogue.services
    rules, first = delivery.plan, delivery.first.name
    off_main = not facts.is_main(delivery.branch)
    before = None
    if off_main:
        before = _branched_off(repo, facts.change_target or delivery.branch)
    elif facts.previous_success:
        before = _base(repo, facts.previous_success, "the last successful build")
    parts, tested = [], []
    for service in services:
        runs = deployed.running(first, service.code) if deployed else None
        build_base = before or Base(None, NOTHING_KNOWN, None)
        if runs:
            build_base = _base(repo, runs.source_commit, f"what {first} runs,")
        test_base = _newer(repo, build_base, before)
        tested.append(test_base)
        hold = deployed.holds.get((first, service.code)) if deployed else None
        parts.append(
            decision.service_part(
                service, rules, build_base, test_base, hold.reason if hold else None
            )
        )
    base = _newest(repo, tested)
    number = facts.build is not None
    return BuildPlan(
        commit=facts.commit,
        run_id=facts.run_id,
        tag=build_facts.tag(delivery.tag, facts) if number else None,
        may_not_publish=build_facts.may_not_publish(
            facts, delivery.branch, context.environ.get("GIT_COMMIT")
        ),
        lint=decision.lint_scope(rules, base),
        parts=(*parts, decision.ci_part(rules, services, base)),
    )


def described(decided: BuildPlan) -> str:
    """The plan for a person."""
    lines = []
    for part in decided.parts:
        doing = "+".join(word for word in ("test", "build") if getattr(part, word)) or "–"
        lines += [
            f"  {part.name if i == 0 else '':4} {doing if i == 0 else '':11} {why}"
            for i, why in enumerate(part.why)
        ]
    lines.append(f"  lint {decided.lint}")
    lines.append(f"  tag  {decided.tag or '– (no build number)'}")
    if decided.may_not_publish:
        lines.append(f"  publishes nothing: {decided.may_not_publish}")
    return "\n".join(lines)


def read(file: Path) -> BuildPlan:
    """The plan in `file`."""
    try:
        return BuildPlan.from_json(json.loads(file.read_text(encoding="utf-8")))
    except OSError as exc:
        raise UsageError(f"no plan: {exc}; `python -m ci plan` writes one") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise Defect(f"{file} is not a plan: {exc!r}") from exc


def parts(decided: BuildPlan, names: Sequence[str]) -> list[Part]:
    """The parts called `names` (codes, folders, ci), or all."""
    try:
        return [decided.part(name) for name in names] or list(decided.parts)
    except KeyError as exc:
        names_there = ", ".join(part.name for part in decided.parts)
        raise UsageError(f"the plan has no {exc.args[0]!r}; it has {names_there}") from exc


def chosen(context: Context, names: Sequence[str], file: Path | None) -> tuple[list[Service], str]:
    """The services that the command line or the plan asks for; when none, why not."""
    if file is None:
        listed = [find(context.catalogue, name) for name in names]
        return listed or list(context.catalogue.services), ""
    decided = read(file)
    if decided.commit != (commit := SourceRepo(context.root).commit):
        raise Refused(
            f"{file} is for commit {decided.commit[:12]}, here is {commit[:12]}; plan again",
            status="stale_plan",
        )
    wanted = parts(decided, names)
    listed = [context.catalogue.service(part.name) for part in wanted if part.build]
    whys = [f"{part.name}: {why}" for part in wanted for why in part.why]
    return listed, "the plan builds no image\n" + "\n".join(whys)


def _base(repo: SourceRepo, commit: str, source: str) -> Base:
    changed = repo.changed_since(commit)
    if changed is None:
        return Base(
            None, f"{source} {commit[:8]} is not in this clone (shallow, or rewritten)", None
        )
    return Base(commit, source, changed)


def _branched_off(repo: SourceRepo, branch: str) -> Base:
    commit = repo.branched_off(branch)
    if commit is None:
        return Base(
            None, f"this clone does not know {branch}, so there is nothing to compare", None
        )
    return _base(repo, commit, f"it left {branch} at")


def _newer(repo: SourceRepo, base: Base, before: Base | None) -> Base:
    """`before` where it is known and contains `base`; that much was tested already."""
    if before is None or before.commit is None or base.commit is None:
        return base
    return before if repo.is_ancestor(base.commit, before.commit) else base


def _newest(repo: SourceRepo, bases: Sequence[Base]) -> Base:
    """The base that contains all others; the first unknown one when there is one."""
    unknown = [base for base in bases if base.changed is None]
    if unknown:
        return unknown[0]
    newest = bases[0]
    for base in bases[1:]:
        newest = _newer(repo, newest, base)
    return newest
