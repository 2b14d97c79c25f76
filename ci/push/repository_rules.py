"""How a repository of the registry must be set up, and where one differs: PURE.

Immutable tags are what the rest of delivery believes in, so a repository without them is refused.
Scan on push and the lifecycle policy are good order: their absence is told and does not stop.
"""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MUTABLE, UNSCANNED, LIFECYCLE = "mutable_tags", "no_scan_on_push", "other_lifecycle"


@dataclass(frozen=True)
class RepositoryRules:
    """untagged_days: after which an image without a tag goes."""

    untagged_days: int

    def lifecycle(self) -> str:
        """The lifecycle policy: what has no tag goes by age, and nothing else by itself.

        Rules of a registry know age and count but not use; a count would one day take the image
        that production runs. Tagged images are the business of `retention`, which knows.
        """
        rules = [
            {
                "rulePriority": 1,
                "description": f"untagged images go after {self.untagged_days} days",
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": self.untagged_days,
                },
                "action": {"type": "expire"},
            },
        ]
        return json.dumps({"rules": rules}, separators=(",", ":"))


@dataclass(frozen=True)
class RepositoryFacts:
    """A repository as the registry describes it. excluded: tags that the mutability exempts."""

    mutability: str
    excluded: tuple[str, ...]
    scans_on_push: bool
    lifecycle: str | None


def drift(facts: RepositoryFacts, rules: RepositoryRules, tag: str) -> tuple[str, ...]:
    """Where the repository is not as it must be for images with that tag; empty when nowhere."""
    found = []
    exempt = any(fnmatchcase(tag, pattern) for pattern in facts.excluded)
    immutable = facts.mutability.startswith("IMMUTABLE")
    if facts.mutability.endswith("_WITH_EXCLUSION"):
        immutable = immutable != exempt
    if not immutable:
        found.append(MUTABLE)
    if not facts.scans_on_push:
        found.append(UNSCANNED)
    if _plain(facts.lifecycle) != _plain(rules.lifecycle()):
        found.append(LIFECYCLE)
    return tuple(found)


def _plain(policy: str | None) -> Any:
    """The policy without what does not matter: descriptions, spaces, the order of its rules."""
    if policy is None:
        return None
    rules: list[dict[str, Any]] = json.loads(policy).get("rules", [])
    plain = [{k: v for k, v in rule.items() if k != "description"} for rule in rules]
    return sorted(plain, key=lambda rule: int(rule["rulePriority"]))
