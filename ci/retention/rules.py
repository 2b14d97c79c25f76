"""Which images of the registry nobody needs any more: PURE.

An image stays when any of these holds, and the first that does is the reason told:

    a file of the manifest repository names its digest or its tag, anywhere, even in a comment, and
      on any branch: an Application of Argo CD may follow another one
    it runs in an environment, or is one of the last ones a rollback could choose there
    it is younger than `age`: a release may be on its way
    it is one of the newest `keep` of its repository
A release record stays as long as an image with its tag does. Where it is not certain, it stays.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ci.model import DIGEST, Ledger

WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RegistryImage:
    """One image of a repository: what retention needs to know of it."""

    repository: str
    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime


@dataclass(frozen=True)
class References:
    """Digests and words of tags that are named somewhere."""

    digests: frozenset[str]
    words: frozenset[str]

    def name(self, image: RegistryImage) -> bool:
        """Whether the image is named."""
        return image.digest in self.digests or not self.words.isdisjoint(image.tags)


@dataclass(frozen=True)
class Verdict:
    """One image and why it stays; None when it may go."""

    image: RegistryImage
    stays: str | None


def references(contents: Iterable[bytes]) -> References:
    """Every digest, and every word that could be a tag, in the files; no format is trusted."""
    digests: set[str] = set()
    words: set[str] = set()
    for content in contents:
        text = content.replace(b"\0", b"").decode("utf-8", errors="replace")  # UTF-16 as well
        digests.update(DIGEST.findall(text))
        for word in WORD.findall(text):
            words |= {word, word.rstrip(".-")}
    return References(frozenset(digests), frozenset(words))


def deployable(ledger: Ledger, rollbacks: int) -> References:
    """What runs, and the last `rollbacks` different images before it, in every environment."""
    digests: set[str] = set()
    tags: set[str] = set()
    for deployments in ledger.deployments.values():
        recent = list(dict.fromkeys(delivery.image for delivery in deployments))[: rollbacks + 1]
        digests |= {image.digest for image in recent if image.digest}
        tags |= {image.tag for image in recent}
    return References(frozenset(digests), frozenset(tags))


def decide(
    images: Mapping[str, Sequence[RegistryImage]],
    named: References,
    deployable: References,
    *,
    age: timedelta,
    now: datetime,
    keep: int,
) -> list[Verdict]:
    """A verdict for each image. images: by repository. keep: so many of each stay, used or not."""
    verdicts = []
    for listed in images.values():
        newest_first = sorted(listed, key=lambda image: image.pushed_at, reverse=True)
        for place, image in enumerate(newest_first, 1):
            stays = _stays(image, named, deployable, now - age, is_new=place <= keep)
            verdicts.append(Verdict(image, stays))
    return verdicts


def records(listed: Iterable[RegistryImage], kept_tags: Collection[str]) -> list[Verdict]:
    """A verdict for each release record. kept_tags: of all images that stay."""
    verdicts = []
    for image in listed:
        stays = "an image of it stays" if not set(kept_tags).isdisjoint(image.tags) else None
        verdicts.append(Verdict(image, stays))
    return verdicts


def _stays(
    image: RegistryImage,
    named: References,
    deployable: References,
    since: datetime,
    *,
    is_new: bool,
) -> str | None:
    if named.name(image):
        return "the manifest repository names it"
    if deployable.name(image):
        return "it runs, or a rollback may choose it"
    if image.pushed_at >= since:
        return "it is young"
    return "it is one of the newest of its repository" if is_new else None
