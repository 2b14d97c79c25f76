"""`ci promote`, `ci rollback`, `ci release`: what people decide, by the same handshake.

    promote   what one environment runs, the next one runs too; by the same order of commits
    rollback  an earlier delivery again; the service is held there, whatever is built meanwhile
    release   the hold ends; the next bump or promotion brings the service along again

A person does these with credentials of their own, on a laptop as well as in a parameterised job, so
half of the rules of publishing do not apply; a build of a pull request, of a tag or of another
branch may never.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from ci.bump import handshake, order
from ci.bump.handshake import Means, Propose, Standing, shows
from ci.bump.ledger import Delivered, Entry, one_line
from ci.bump.order import Verdict
from ci.config import Delivery
from ci.context import Context
from ci.errors import Refused, UsageError
from ci.manifests import Reading
from ci.model import Deployment, ImageRef, Service
from ci.outcome import Outcome
from ci.tools.source_repo import SourceRepo

WhyNot = Callable[[ImageRef], str | None]  # why an image cannot run any more; None: it can


def refuse_elsewhere(context: Context, delivery: Delivery) -> None:
    """People's commands have no place in a build of what nobody has merged yet.

    A laptop and a parameterised job are no multibranch builds: they have no BRANCH_NAME.
    """
    if change := context.environ.get("CHANGE_ID"):
        text = f"this is pull request {change}; pull requests never change what runs"
        raise Refused(text, status="pull_request")
    if tag := context.environ.get("TAG_NAME"):
        text = f"this is the build of the tag {tag!r}; tags never change what runs"
        raise Refused(text, status="may_not_publish")
    branch = context.environ.get("BRANCH_NAME")
    if branch and branch != delivery.branch:
        text = f"this is a build of branch {branch!r}; only {delivery.branch!r} changes what runs"
        raise Refused(text, status="may_not_publish")


def hand_over(
    context: Context, delivery: Delivery, environment: str, propose: Propose, means: Means
) -> Outcome:
    """The handshake, as the person whom git knows here."""
    author = SourceRepo(context.root).person(context.environ)
    return handshake.hand_over(context, delivery, environment, propose, means=means, author=author)


def by_whom(context: Context, did: str) -> str:
    """The reason, where a person gave none."""
    who = SourceRepo(context.root).person(context.environ)
    return f"{did} by {who[0]}" if who else f"{did} by hand"


def check_pair(delivery: Delivery, source: str, target: str) -> None:
    """`Refused` unless `target` is promoted from `source`."""
    from_ = delivery.environment(target).promoted_from
    delivery.environment(source)
    if from_ != source:
        where = f"is promoted from {from_}" if from_ else "is written by `bump`"
        text = f"{target} {where}, not from {source} (ci/ci.toml)"
        raise Refused(text, status="wrong_environment")


def promoting(
    source: str,
    target: str,
    services: Sequence[Service],
    history: SourceRepo,
    now: datetime,
    *,
    diverged_too: bool = False,
) -> Propose:
    """The rule of a promotion."""
    run_id = f"promote-{source}-{target}-{_moment(now)}"

    def verdict(service: Service, origin: Deployment | None, standing: Standing) -> Verdict:
        code = service.code
        if origin is None:
            return Verdict(code, "nothing", f"nothing was ever delivered to {source}")
        _refuse_drift(service, source, standing, origin)
        decided = order.decide(
            code,
            origin.source_commit,
            origin.committed_at,
            running=standing.running(target, code),
            hold=standing.ledger.holds.get((target, code)),
            history=history,
            diverged_too=diverged_too,
        )
        if decided.status == "already" and not shows(standing.images(target, code), origin.image):
            return Verdict(code, "write", "delivered before, but the file says another image")
        return decided

    def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
        origins = {s.code: standing.ledger.running(source, s.code) for s in services}
        verdicts = [verdict(service, origins[service.code], standing) for service in services]
        handshake.refuse_diverged(verdicts, "promote")
        moved = [origin for v in verdicts if v.writes and (origin := origins[v.code])]
        if not moved:
            return verdicts, None
        delivered = [Delivered(o.code, o.image, o.source_commit) for o in moved]
        one_build = moved[0] if len({origin.run_id for origin in moved}) == 1 else None
        return verdicts, Entry(target, "promote", run_id, delivered, one_build)

    return propose


def rolling_back(
    service: Service,
    environment: str,
    now: datetime,
    *,
    tag: str | None,
    reason: str,
    why_not: WhyNot,
) -> Propose:
    """The rule of a rollback: to the delivery before, or to the one with that tag; then held."""
    one_line("the reason", reason)
    run_id = f"rollback-{environment}-{service.code}-{_moment(now)}"

    def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
        shown = standing.images(environment, service.code)
        chosen = _chosen(service, environment, standing, shown, tag)
        if shows(shown, chosen.image) and (environment, service.code) in standing.ledger.holds:
            text = f"already {chosen.image.tag}, and held there"
            return [Verdict(service.code, "already", text)], None
        if why := why_not(chosen.image):
            raise Refused(f"{chosen.image} cannot run again: {why}", status="image_gone")
        text = f"{chosen.image.tag}, built from {chosen.source_commit[:12]}; held: {reason}"
        back = [Delivered(service.code, chosen.image, chosen.source_commit)]
        holds = {service.code: reason}
        entry = Entry(environment, "rollback", run_id, back, chosen, holds=holds)
        return [Verdict(service.code, "write", text)], entry

    return propose


def releasing(service: Service, environment: str, now: datetime, reason: str) -> Propose:
    """The rule of a release: there must be a hold to end."""
    one_line("the reason", reason)
    run_id = f"release-{environment}-{service.code}-{_moment(now)}"

    def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
        hold = standing.ledger.holds.get((environment, service.code))
        if hold is None:
            return [Verdict(service.code, "already", "it is not held")], None
        runs = standing.running(environment, service.code)
        now_runs = f"; until then it runs {runs.image.tag}" if runs else ""
        text = f"was held for: {hold.reason}. The next newer build is what it will run{now_runs}"
        entry = Entry(environment, "release", run_id, releases={service.code: reason})
        return [Verdict(service.code, "write", text)], entry

    return propose


def _refuse_drift(service: Service, environment: str, standing: Standing, runs: Deployment) -> None:
    shown = standing.images(environment, service.code)
    if not shows(shown, runs.image):
        text = f"{service.folder} in {environment}: the file says {shown}, but {runs.image} was"
        text += (
            " delivered last; somebody changed it by hand, so nobody knows what it was built from"
        )
        raise Refused(text, status="drift", service=service.code)


def _chosen(
    service: Service, environment: str, standing: Standing, shown: Reading, tag: str | None
) -> Deployment:
    """The delivery to go back to. A rollback is none of its own, so a second one goes further."""
    deliveries = standing.ledger.deployments.get((environment, service.code), ())
    firsts = [delivery for delivery in deliveries if delivery.kind != "rollback"]
    if tag is not None:
        for delivery in deliveries:
            if delivery.image.tag == tag:
                return delivery
        tags = ", ".join(dict.fromkeys(delivery.image.tag for delivery in firsts[:8])) or "none"
        raise UsageError(f"{service.folder} never had {tag!r} in {environment}; it had {tags}")
    shown_at = [n for n, delivery in enumerate(firsts) if shows(shown, delivery.image)]
    for delivery in firsts[shown_at[0] + 1 :] if shown_at else firsts:
        if not shows(shown, delivery.image):
            return delivery
    text = f"{service.folder} had nothing else in {environment} before"
    raise Refused(text, status="nothing_before")


def _moment(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
