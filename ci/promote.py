"""`ci promote`, `ci rollback`, `ci release`: what people decide, by the same handshake.

    promote   what one environment runs, the next one runs too; by the same order of commits
    rollback  an earlier delivery again; the service is held there, whatever is built meanwhile
    release   the hold ends; the next bump or promotion brings the service along again

A person does these with credentials of their own, on a laptop as well as in a parameterised job.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

import click

from ci import catalogue, config
from ci.bump import handshake
from ci.bump.handshake import Means, Propose, Standing, Verdict, shows
from ci.bump.ledger import Delivered, Entry, one_line
from ci.config import Delivery
from ci.context import Context
from ci.errors import CiError, OutsideFault, Refused, UsageError
from ci.model import Deployment, ImageRef, Service
from ci.outcome import Outcome
from ci.plan import facts
from ci.tools.ecr import Registry
from ci.tools.source_repo import SourceRepo

WhyNot = Callable[[ImageRef], str | None]  # why an image cannot run any more; None: it can
CANNOT_ASK = {"no_credentials", "no_region", "not_allowed"}  # a person's laptop, in a hurry
ENVIRONMENT = click.option("--environment", metavar="E", help="default: the one that bump writes")
REASON = click.option("--reason", metavar="TEXT", help="stands in the manifest repository")


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--service", multiple=True, metavar="S", help="only these; default all")
@click.option("--diverged", is_flag=True, help="also over a commit whose history is another")
def promote(
    context: Context, source: str, target: str, service: Sequence[str], *, diverged: bool
) -> Outcome:
    """Brings what runs in one environment into the next.

    Takes the images that FROM runs into TO, by the same handshake as `bump`. Which environments
    follow which stands in ci/ci.toml. A service that is held in TO, or newer there, is named and
    left.

    FROM: an environment, e.g. staging; TO: the one that follows it, e.g. production
    """
    delivery = _delivery(context)
    check_pair(delivery, source, target)
    chosen = [catalogue.find(context.catalogue, name) for name in service]
    services, history = chosen or context.catalogue.services, SourceRepo(context.root)
    rule = promoting(source, target, services, history, context.now(), diverged_too=diverged)
    return hand_over(context, delivery, target, rule)


@click.command()
@click.argument("service")
@click.option("--to", metavar="TAG", help="default: what ran before")
@ENVIRONMENT
@REASON
def rollback(
    context: Context, service: str, to: str | None, environment: str | None, reason: str | None
) -> Outcome:
    """Runs an earlier image again, held until released.

    Goes back to the delivery before the one that runs, or to the one with that tag, when the
    registry still has its image. The service then stays there, whatever is built meanwhile, until
    `ci release SERVICE`.

    SERVICE: a folder or its code
    """
    delivery, chosen = _delivery(context), catalogue.find(context.catalogue, service)
    name = delivery.environment(environment or delivery.first.name).name
    reason, why_not = reason or _by_whom(context, "rolled back"), why_not_again(context, delivery)
    rule = rolling_back(chosen, name, context.now(), tag=to, reason=reason, why_not=why_not)
    return hand_over(context, delivery, name, rule)


@click.command()
@click.argument("service")
@ENVIRONMENT
@REASON
def release(context: Context, service: str, environment: str | None, reason: str | None) -> Outcome:
    """Ends the hold of a rollback.

    Nothing changes at once: a commit without files says that the service follows again, and the
    next newer build, or promotion, is what it will run.

    SERVICE: a folder or its code
    """
    delivery, chosen = _delivery(context), catalogue.find(context.catalogue, service)
    name = delivery.environment(environment or delivery.first.name).name
    rule = releasing(chosen, name, context.now(), reason or _by_whom(context, "released"))
    return hand_over(context, delivery, name, rule)


def _delivery(context: Context) -> Delivery:
    delivery = config.load(context.catalogue, context.environ)
    facts.refuse_elsewhere(context, delivery)
    return delivery


def hand_over(
    context: Context,
    delivery: Delivery,
    environment: str,
    propose: Propose,
    means: Means | None = None,
) -> Outcome:
    """The handshake, as the person whom git knows here."""
    author = SourceRepo(context.root).person(context.environ)
    means = means or handshake.real(context, delivery)
    return handshake.hand_over(context, delivery, environment, propose, means=means, author=author)


def _by_whom(context: Context, did: str) -> str:
    who = SourceRepo(context.root).person(context.environ)
    return f"{did} by {who[0] if who else 'hand'}"


def check_pair(delivery: Delivery, source: str, target: str) -> None:
    """`Refused` unless `target` is promoted from `source`."""
    from_ = delivery.environment(target).promoted_from
    if from_ != delivery.environment(source).name:
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
        if not shows(shown := standing.images(source, code), origin.image):
            text = f"{service.folder} in {source}: the file says {shown}, but {origin.image} was"
            text += " delivered last; somebody changed it by hand, so nobody knows what it was"
            raise Refused(f"{text} built from", status="drift", service=code)
        decided = standing.verdict(target, code, origin, history, diverged_too=diverged_too)
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
    code, reason = service.code, one_line("the reason", reason)
    run_id = f"rollback-{environment}-{code}-{_moment(now)}"

    def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
        chosen = _chosen(service, environment, standing, tag)
        is_held = (environment, code) in standing.ledger.holds
        if is_held and shows(standing.images(environment, code), chosen.image):
            return [Verdict(code, "already", f"already {chosen.image.tag}, and held there")], None
        if why := why_not(chosen.image):
            raise Refused(f"{chosen.image} cannot run again: {why}", status="image_gone")
        text = f"{chosen.image.tag}, built from {chosen.source_commit[:12]}; held: {reason}"
        back = [Delivered(code, chosen.image, chosen.source_commit)]
        entry = Entry(environment, "rollback", run_id, back, chosen, holds={code: reason})
        return [Verdict(code, "write", text)], entry

    return propose


def releasing(service: Service, environment: str, now: datetime, reason: str) -> Propose:
    """The rule of a release: there must be a hold to end."""
    code, reason = service.code, one_line("the reason", reason)
    run_id = f"release-{environment}-{code}-{_moment(now)}"

    def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
        hold = standing.ledger.holds.get((environment, code))
        if hold is None:
            return [Verdict(code, "already", "it is not held")], None
        runs = standing.running(environment, code)
        now_runs = f"; until then it runs {runs.image.tag}" if runs else ""
        text = f"was held for: {hold.reason}. The next newer build is what it will run{now_runs}"
        entry = Entry(environment, "release", run_id, releases={code: reason})
        return [Verdict(code, "write", text)], entry

    return propose


def _chosen(service: Service, environment: str, standing: Standing, tag: str | None) -> Deployment:
    """The delivery to go back to. A rollback is none of its own, so a second one goes further."""
    shown = standing.images(environment, service.code)
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


def why_not_again(context: Context, delivery: Delivery) -> WhyNot:
    """Whether the registry still has an image; one that cannot be asked stops no rollback."""

    def why_not(image: ImageRef) -> str | None:
        host, _, name = image.repository.partition("/")
        try:
            if host != delivery.registry.address:
                raise OutsideFault(f"{host} is not the one that is configured")
            stored = Registry(host, context.environ).find(name, image.tag)
        except CiError as error:
            if not isinstance(error, OutsideFault) and error.status not in CANNOT_ASK:
                raise
            context.screen.line(f"  not verified, the registry was not asked for {image}: {error}")
            return None
        if stored is None:
            return "the registry does not have it any more"
        is_other = image.digest and stored != image.digest
        return f"under this tag the registry has {stored}" if is_other else None

    return why_not


def _moment(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
