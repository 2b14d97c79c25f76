"""`ci retention`: lists the registry, then reads the manifests, then decides; deletes when told to.

In this order, for what is delivered meanwhile is then seen as in use, or is not in the list.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ci.bump import manifest_repo
from ci.config import Delivery
from ci.context import Context
from ci.errors import OutsideFault, Refused
from ci.outcome import Outcome
from ci.retention import rules
from ci.retention.rules import Held, Verdict
from ci.tools.ecr import Registry


def main(
    context: Context, delivery: Delivery, *, rollbacks: int, age: timedelta, delete: bool
) -> Outcome:
    """Images and release records that nobody needs are listed, and gone when `delete`."""
    registry, config = Registry(delivery.registry.address, context.environ), delivery.registry
    names = [config.repository(service) for service in context.catalogue.services]
    images = {name: _held(registry, name) for name in names}
    records = _held(registry, config.releases)
    with manifest_repo.checkout(delivery.manifests, context.environ) as manifests:
        named = rules.references(manifests.contents())
        ledger = manifests.ledger()
    if not ledger.deployments:
        raise Refused(
            "the manifest repository tells of no delivery at all; is it the right one?",
            status="no_delivery",
        )
    deployable = rules.deployable(ledger, rollbacks)
    verdicts = rules.decide(images, named, deployable, age=age, now=context.now(), keep=config.keep)
    kept = {tag for each in verdicts if each.stays for tag in each.image.tags}
    verdicts += rules.records(records, kept)
    going = [each.image for each in verdicts if each.stays is None]
    faults: list[str] = []
    deleting = delete and not context.dry_run
    if deleting:
        for name in [*names, config.releases]:
            digests = [image.digest for image in going if image.repository == name]
            faults += registry.delete(name, digests)
    told = _told(verdicts, going, deleted=deleting)
    facts: dict[str, Any] = {
        "going": [_plain(image) for image in going],
        "staying": len(verdicts) - len(going),
    }
    if faults:
        raise OutsideFault(
            "the registry did not delete all:\n  " + "\n  ".join(faults), kept=faults, **facts
        )
    if not going:
        return Outcome("nothing", told, facts)
    return Outcome("deleted" if deleting else "found", told, facts)


def _held(registry: Registry, name: str) -> list[Held]:
    return [Held(name, each.digest, each.tags, each.pushed_at) for each in registry.images(name)]


def _told(verdicts: Sequence[Verdict], going: Sequence[Held], *, deleted: bool) -> str:
    lines = []
    for repository in dict.fromkeys(each.image.repository for each in verdicts):
        here = [each for each in verdicts if each.image.repository == repository]
        stay = sum(each.stays is not None for each in here)
        lines.append(
            f"{repository}: {stay} stay, {len(here) - stay} {'gone' if deleted else 'may go'}"
        )
        for each in here:
            if each.stays is None:
                image, tags = each.image, ", ".join(each.image.tags) or "untagged"
                lines.append(f"  - {tags}  {image.digest[:19]}  of {image.pushed_at:%Y-%m-%d}")
    if going and not deleted:
        lines.append("nothing was deleted; --delete does")
    return "\n".join(lines) or "the registry has no image"


def _plain(image: Held) -> dict[str, object]:
    return {"repository": image.repository, "digest": image.digest, "tags": list(image.tags)}
