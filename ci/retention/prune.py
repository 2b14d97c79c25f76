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
from ci.retention.rules import RegistryImage, Verdict
from ci.tools.ecr import Registry


def main(
    context: Context, delivery: Delivery, *, rollbacks: int, age: timedelta, delete: bool
) -> Outcome:
    """Images and release records that nobody needs are listed, and gone when `delete`."""
    registry, config = Registry(delivery.registry.address, context.environ), delivery.registry
    names = [config.repository(service) for service in context.catalogue.services]
    images = {name: _listed(registry, name) for name in names}
    records = _listed(registry, config.releases)
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
    kept_tags = {tag for verdict in verdicts if verdict.stays for tag in verdict.image.tags}
    verdicts += rules.records(records, kept_tags)
    going = [verdict.image for verdict in verdicts if verdict.stays is None]
    faults: list[str] = []
    deleting = delete and not context.dry_run
    if deleting:
        for name in [*names, config.releases]:
            digests = [image.digest for image in going if image.repository == name]
            faults += registry.delete(name, digests)
    text = _told(verdicts, going, deleted=deleting)
    facts: dict[str, Any] = {
        "going": [_plain(image) for image in going],
        "staying": len(verdicts) - len(going),
    }
    if faults:
        raise OutsideFault(
            "the registry did not delete all:\n  " + "\n  ".join(faults), kept=faults, **facts
        )
    if not going:
        return Outcome("nothing", text, facts)
    return Outcome("deleted" if deleting else "found", text, facts)


def _listed(registry: Registry, name: str) -> list[RegistryImage]:
    return [
        RegistryImage(name, image.digest, image.tags, image.pushed_at)
        for image in registry.images(name)
    ]


def _told(verdicts: Sequence[Verdict], going: Sequence[RegistryImage], *, deleted: bool) -> str:
    lines = []
    for repository in dict.fromkeys(verdict.image.repository for verdict in verdicts):
        here = [verdict for verdict in verdicts if verdict.image.repository == repository]
        stay = sum(verdict.stays is not None for verdict in here)
        lines.append(
            f"{repository}: {stay} stay, {len(here) - stay} {'gone' if deleted else 'may go'}"
        )
        for verdict in here:
            if verdict.stays is None:
                image, tags = verdict.image, ", ".join(verdict.image.tags) or "untagged"
                lines.append(f"  - {tags}  {image.digest[:19]}  of {image.pushed_at:%Y-%m-%d}")
    if going and not deleted:
        lines.append("nothing was deleted; --delete does")
    return "\n".join(lines) or "the registry has no image"


def _plain(image: RegistryImage) -> dict[str, object]:
    return {"repository": image.repository, "digest": image.digest, "tags": list(image.tags)}
