"""`ci promote`, `ci rollback`, `ci release`: what people decide."""

from collections.abc import Sequence

import click

from ci import catalogue, config
from ci.bump import means
from ci.bump.handshake import Propose
from ci.config import Delivery
from ci.context import Context
from ci.outcome import Outcome
from ci.promote import moves
from ci.tools.source_repo import SourceRepo

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
    moves.check_pair(delivery, source, target)
    chosen = [catalogue.find(context.catalogue, name) for name in service]
    services, history = chosen or context.catalogue.services, SourceRepo(context.root)
    propose = moves.promoting(
        source, target, services, history, context.now(), diverged_too=diverged
    )
    return _hand_over(context, delivery, target, propose)


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
    delivery = _delivery(context)
    name = delivery.environment(environment or delivery.first.name).name
    propose = moves.rolling_back(
        catalogue.find(context.catalogue, service),
        name,
        context.now(),
        tag=to,
        reason=reason or moves.by_whom(context, "rolled back"),
        why_not=means.why_not_again(context, delivery),
    )
    return _hand_over(context, delivery, name, propose)


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
    delivery = _delivery(context)
    name = delivery.environment(environment or delivery.first.name).name
    chosen, by_whom = catalogue.find(context.catalogue, service), moves.by_whom(context, "released")
    propose = moves.releasing(chosen, name, context.now(), reason or by_whom)
    return _hand_over(context, delivery, name, propose)


def _delivery(context: Context) -> Delivery:
    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    return delivery


def _hand_over(context: Context, delivery: Delivery, name: str, propose: Propose) -> Outcome:
    return moves.hand_over(context, delivery, name, propose, means.real(context, delivery))
