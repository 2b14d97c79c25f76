"""The ways manifests write an image, told apart by what the key holds: which scalars are to change.

    what the key names                    the image in it, pinned by digest  pinned by tag alone
    ------------------------------------  ---------------------------------  -------------------
    {repository, tag}                     repository, tag@digest             repository, tag
    {repository, tag, digest}             each in its own; no digest key     tag; the digest is
                                          gains a digest                     emptied
    {registry, repository, tag(, digest)} the registry's host apart, as      the same
                                          Bitnami's charts do
    {repository, digest}                  repository, digest; the tag has    refused: no_slot
                                          no place
    {name, newName?, newTag?, digest?}    an entry of kustomize's `images`:  newTag; the digest
                                          name says which image is replaced  is emptied, which
                                          and is never changed               kustomize ignores
    repo, repo:tag, repo:tag@digest       one text: repo:tag@digest          repo:tag
    a key called tag, …Tag or version,    tag@digest. When the same mapping  tag
    or a text that can only be a tag      holds the repository or a digest,
                                          those too are meant
    a key called digest                   the digest; tag and repository     as above
                                          beside it as above

A key called `image` or `…Image` holds a whole reference, however short it is now (`nginx`).

The repository may also be called `image`, or `name` when its text has a `/`; the tag `imageTag`.
Empty values (`tag:`, `~`, `null`, `""`) are filled; keys are never added. `tag@digest` in the tag
renders as `repo:tag@digest` with an unchanged chart, so pinning needs no key of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ci.manifests.find import Place
from ci.manifests.key_path import Key
from ci.model import ImageRef

Pin = Literal["digest", "tag"]
TAG_SHAPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]*)?")
HUB = "docker.io"
KEYS = {  # of an image in a mapping; where several may hold the same, the first that is there
    "registry": ("registry",),
    "repository": ("repository", "image"),
    "tag": ("tag", "imageTag"),
    "digest": ("digest",),
    **{key: (key,) for key in ("name", "newName", "newTag")},
}
NO_IMAGE = "not_an_image"


@dataclass(frozen=True)
class Reading:
    """What a file says about one image; None: it does not say. style: of the table above."""

    style: str
    repository: str | None
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        tag = f"{':' if self.repository else ''}{self.tag}" if self.tag else ""
        digest = f"{'@' if self.repository or tag else ''}{self.digest}" if self.digest else ""
        return f"{self.repository or ''}{tag}{digest}" or "nothing"


@dataclass(frozen=True, eq=False)
class Layout:
    """The scalars of one image, by role: registry, repository, tag and digest, or reference."""

    style: str
    slots: Mapping[str, Place]
    at: Place  # what the key named, or the mapping around it
    matched: str = ""  # kustomize's `name`, which is read and never written

    @property
    def reading(self) -> Reading:
        """What stands there now."""
        texts = {role: place.text for role, place in self.slots.items()}
        if "reference" in texts:
            repository, tag, digest = _split(texts["reference"])
        else:
            repository = texts.get("repository") or self.matched
            if repository and texts.get("registry"):
                repository = f"{texts['registry']}/{repository}"
            tag, _, digest = texts.get("tag", "").partition("@")
            digest = texts.get("digest") or digest
        return Reading(self.style, repository or None, tag or None, digest or None)

    def texts(self, image: ImageRef, pin: Pin) -> dict[str, str]:
        """What each scalar shall read; those that are right already included."""
        if "reference" in self.slots:
            return {"reference": str(image)}
        values = self._repository_texts(image)
        digest = self.slots.get("digest")
        if digest is None:
            return values | {"tag": image.pin}
        if image.digest:
            values["digest"] = image.digest
        elif pin == "tag" and "tag" not in self.slots:
            why = "has no key to hold the tag, and is to be pinned by it; add one"
            raise self.at.refusal(why, "no_slot")
        elif pin == "tag" and digest.text:
            values["digest"] = ""
        elif digest.text or "tag" not in self.slots:
            why = f"pins a digest, which wins over any tag, and no digest was given for {image}"
            raise digest.refusal(why, "digest_stays")
        return values | ({"tag": image.tag} if "tag" in self.slots else {})

    def _repository_texts(self, image: ImageRef) -> dict[str, str]:
        texts = {
            role: self.slots[role].text for role in ("registry", "repository") if role in self.slots
        }
        current = self.reading.repository
        if current == image.repository:  # written again only where a bare text is no text to all
            return {role: text for role, text in texts.items() if text}
        if "repository" not in texts:
            if not self.matched:
                return {}  # a tag alone: nothing says of which image
            why = f"is about {current} and has no newName to hold {image.repository}; add newName,"
            raise self.at.refusal(f"{why} or name that image", "no_slot")
        registry = texts.get("registry")
        if not registry:
            return {"repository": image.repository}
        host, slash, rest = image.repository.partition("/")
        if image.repository.startswith(f"{registry}/"):
            host, rest = registry, image.repository.removeprefix(f"{registry}/")
        elif not slash or not (set(host) & set(".:") or host == "localhost"):
            host, rest = HUB, image.repository
        return {"registry": host, "repository": rest}


def layout(place: Place) -> Layout:
    """Which scalars hold the image that `place` names; refused by name when none can."""
    kind = place.node.resolved.kind
    if kind == "sequence":
        raise place.refusal("is a list; name one item: [0], or [name=…]", NO_IMAGE)
    if kind == "mapping":
        return _of_mapping(place)
    name = place.path[-1].name if place.path and isinstance(place.path[-1], Key) else ""
    is_part = name in {"version", "digest"} or name.lower().endswith("tag")
    return _of_mapping(place.parent, name) if place.parent and is_part else _of_text(place, name)


def _split(reference: str) -> tuple[str, str, str]:
    """Repository, tag and digest of `repo[:tag][@digest]`; empty where there is none."""
    rest, _, digest = reference.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag, digest


def _of_mapping(place: Place, named: str = "") -> Layout:
    """The layout of a mapping. named: the tag or digest in it that the key named."""
    keys = KEYS | {"tag": (named, *KEYS["tag"])} if named not in {"", "digest"} else KEYS
    parts: dict[str, Place | None] = {}
    for role, names in keys.items():
        children = filter(None, map(place.child, names))
        parts[role] = next((c for c in children if c.node.resolved.kind == "scalar"), None)
    registry, repository, tag, digest, name, new_name, new_tag = parts.values()
    if name and (new_tag or new_name or (digest and not repository and not tag)):
        if new_tag is None and digest is None:
            raise place.refusal("has neither newTag nor digest; add one, empty", "no_slot")
        slots = _present(repository=new_name, tag=new_tag, digest=digest)
        style = "+".join(str(slot.path[-1]) for slot in slots.values())
        return Layout(f"kustomize {style}", slots, place, name.text)
    if tag is None and digest is None:
        image = place.child("image")
        why = f"holds no tag and no digest{f'; was {image.name} meant?' if image else ''}"
        is_named_so = repository is not None and repository.path[-1] == Key("repository")
        raise place.refusal(why, "no_slot" if is_named_so else NO_IMAGE)
    if repository is None and name is not None and "/" in name.text:
        repository = name
    if repository is None:
        if not named:
            raise place.refusal("holds no repository; name its tag", NO_IMAGE)
    elif any(_split(repository.text)[1:]):
        raise repository.refusal("has a tag of its own, beside a tag in the next key", "two_tags")
    elif "://" in repository.text:
        raise repository.refusal("is a URL, not the repository of an image", NO_IMAGE)
    registry = registry if repository else None
    slots = _present(registry=registry, repository=repository, tag=tag, digest=digest)
    return Layout("+".join(slots), slots, place)


def _present(**slots: Place | None) -> dict[str, Place]:
    return {role: slot for role, slot in slots.items() if slot is not None}


def _of_text(place: Place, name: str) -> Layout:
    """The layout of one text, under the key `name`, with the whole image or the tag in it."""
    value, holds_reference = place.text, name.lower().endswith("image")
    repository, tag, digest = _split(value)
    why = "holds no image"
    if not value and not holds_reference:
        why = "is empty, and its name does not say whether a tag or an image belongs there"
    elif (value and not repository) or re.search(r"\s|://", value):
        pass
    elif not tag and not digest and name in {"repository", "registry", "newName", "name"}:
        why = "names a repository only; name the mapping it is in"
    elif holds_reference or "/" in value or tag:
        return Layout("reference", {"reference": place}, place)
    elif TAG_SHAPE.fullmatch(value):
        return Layout("tag", {"tag": place}, place)
    raise place.refusal(why, NO_IMAGE)
