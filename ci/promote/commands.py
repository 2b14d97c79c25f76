"""`ci promote`, `ci rollback`, `ci release`: what people decide."""

from collections.abc import Sequence

import click

from ci import catalogue, config
from ci.bump import means
from ci.bump.bumping import SourceHistory
from ci.context import Context
from ci.outcome import Outcome
from ci.promote import moves


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
    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    moves.check_pair(delivery, source, target)
    chosen = [catalogue.find(context.catalogue, name) for name in service]
    propose = moves.promoting(
        source,
        target,
        chosen or context.catalogue.services,
        SourceHistory(context.root),
        context.now(),
        diverged_too=diverged,
    )
    return moves.hand_over(context, delivery, target, propose, means.real(context, delivery))


@click.command()
@click.argument("service")
@click.option("--to", metavar="TAG", help="default: what ran before")
@click.option("--environment", metavar="E", help="default: the one that bump writes")
@click.option("--reason", metavar="TEXT", help="stands in the manifest repository")
def rollback(
    context: Context, service: str, to: str | None, environment: str | None, reason: str | None
) -> Outcome:
    """Runs an earlier image again, held until released.

    Goes back to the delivery before the one that runs, or to the one with that tag, when the
    registry still has its image. The service then stays there, whatever is built meanwhile, until
    `ci release SERVICE`.

    SERVICE: a folder or its code
    """
    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    name = delivery.environment(environment or delivery.first.name).name
    propose = moves.rolling_back(
        catalogue.find(context.catalogue, service),
        name,
        context.now(),
        tag=to,
        reason=reason or moves.by_whom(context, "rolled back"),
        why_not=means.why_not_again(context, delivery),
    )
    return moves.hand_over(context, delivery, name, propose, means.real(context, delivery))


@click.command()
@click.argument("service")
@click.option("--environment", metavar="E", help="default: the one that bump writes")
@click.option("--reason", metavar="TEXT", help="stands in the manifest repository")
def release(context: Context, service: str, environment: str | None, reason: str | None) -> Outcome:
    """Ends the hold of a rollback.

    Nothing changes at once: a commit without files says that the service follows again, and the
    next newer build, or promotion, is what it will run.

    SERVICE: a folder or its code
    """
    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    name = delivery.environment(environment or delivery.first.name).name
    propose = moves.releasing(
        catalogue.find(context.catalogue, service),
        name,
        context.now(),
        reason or moves.by_whom(context, "released"),
    )
    return moves.hand_over(context, delivery, name, propose, means.real(context, delivery))
