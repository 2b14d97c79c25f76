"""How a repository of the registry must be set up, and that it is.

Immutable tags are what the rest of delivery believes in, so a repository without them is refused.
Scan on push and the lifecycle policy are good order: their absence is told and does not stop.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ci.errors import Refused
from ci.tools.ecr import Registry

MUTABLE, UNSCANNED, LIFECYCLE = "mutable_tags", "no_scan_on_push", "other_lifecycle"


@dataclass(frozen=True)
class RepositoryFacts:
    """A repository as the registry describes it. excluded: tags that the mutability exempts."""

    mutability: str
    excluded: tuple[str, ...]
    scans_on_push: bool
    lifecycle: str | None


@dataclass(frozen=True)
class Ensured:
    """A repository that is there. did: `created`, `repaired` or nothing. drift: from the rules."""

    name: str
    did: str
    drift: tuple[str, ...] = ()


def lifecycle(untagged_days: int) -> str:
    """The lifecycle policy: what has no tag goes by age, and nothing else by itself.

    Rules of a registry know age and count but not use; a count would one day take the image that
    production runs. Tagged images are the business of `retention`, which knows.
    """
    rule = {
        "rulePriority": 1,
        "description": f"untagged images go after {untagged_days} days",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": untagged_days,
        },
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]}, separators=(",", ":"))


def drift(facts: RepositoryFacts, untagged_days: int, tag: str) -> tuple[str, ...]:
    """Where the repository is not as it must be for images with that tag; empty when nowhere."""
    exempt = any(fnmatchcase(tag, pattern) for pattern in facts.excluded)
    immutable = facts.mutability.startswith("IMMUTABLE")
    if facts.mutability.endswith("_WITH_EXCLUSION"):
        immutable = immutable != exempt
    same_lifecycle = _plain(facts.lifecycle) == _plain(lifecycle(untagged_days))
    holds = {MUTABLE: immutable, UNSCANNED: facts.scans_on_push, LIFECYCLE: same_lifecycle}
    return tuple(fault for fault, is_well in holds.items() if not is_well)


def ensure(
    registry: Registry, name: str, untagged_days: int, tag: str, *, fix: bool, dry_run: bool = False
) -> Ensured:
    """The repository is there and keeps its tags; created when missing, mended with `fix`.

    `Refused` (mutable_repository) when tags like `tag` could be overwritten and not `fix`.
    """
    facts = _facts(registry, name)
    if facts is None:
        if not dry_run:
            _create(registry, name, untagged_days)
        return Ensured(name, "created")
    faults = drift(facts, untagged_days, tag)
    if faults and fix:
        if not dry_run:
            _mend(registry, name, untagged_days, faults)
        return Ensured(name, "repaired", faults)
    if MUTABLE in faults:
        raise Refused(
            f"tags in repository {name} can be overwritten ({facts.mutability}): what a"
            " manifest references could change under it. `push --fix` makes them immutable.",
            status="mutable_repository",
            repository=name,
            mutability=facts.mutability,
        )
    return Ensured(name, "", faults)


def _plain(policy: str | None) -> Any:
    """The policy without what does not matter: descriptions, spaces, the order of its rules."""
    if policy is None:
        return None
    rules: list[dict[str, Any]] = json.loads(policy).get("rules", [])
    plain = [{k: v for k, v in rule.items() if k != "description"} for rule in rules]
    return sorted(plain, key=lambda rule: int(rule["rulePriority"]))


def _facts(registry: Registry, name: str) -> RepositoryFacts | None:
    client = registry.client
    with registry.calling("ecr:DescribeRepositories", name):
        try:
            answer = client.describe_repositories(repositoryNames=[name], **registry.account)
        except client.exceptions.RepositoryNotFoundException:
            return None
    described: Any = answer["repositories"][0]
    policy: str | None = None
    with (
        registry.calling("ecr:GetLifecyclePolicy", name),
        contextlib.suppress(client.exceptions.LifecyclePolicyNotFoundException),
    ):
        stored = client.get_lifecycle_policy(repositoryName=name, **registry.account)
        policy = stored["lifecyclePolicyText"]
    exempt = described.get("imageTagMutabilityExclusionFilters") or ()
    return RepositoryFacts(
        mutability=described.get("imageTagMutability", "MUTABLE"),
        excluded=tuple(entry["filter"] for entry in exempt),
        scans_on_push=bool(described.get("imageScanningConfiguration", {}).get("scanOnPush")),
        lifecycle=policy,
    )


def _create(registry: Registry, name: str, untagged_days: int) -> None:
    with (
        registry.calling("ecr:CreateRepository", name),
        # another build was faster
        contextlib.suppress(registry.client.exceptions.RepositoryAlreadyExistsException),
    ):
        registry.client.create_repository(
            repositoryName=name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            **registry.account,
        )
    _mend(registry, name, untagged_days, (LIFECYCLE,))


def _mend(registry: Registry, name: str, untagged_days: int, faults: Sequence[str]) -> None:
    client, account = registry.client, registry.account
    if MUTABLE in faults:
        with registry.calling("ecr:PutImageTagMutability", name):
            client.put_image_tag_mutability(
                repositoryName=name, imageTagMutability="IMMUTABLE", **account
            )
    if UNSCANNED in faults:
        with registry.calling("ecr:PutImageScanningConfiguration", name):
            client.put_image_scanning_configuration(
                repositoryName=name, imageScanningConfiguration={"scanOnPush": True}, **account
            )
    if LIFECYCLE in faults:
        with registry.calling("ecr:PutLifecyclePolicy", name):
            client.put_lifecycle_policy(
                repositoryName=name, lifecyclePolicyText=lifecycle(untagged_days), **account
            )
