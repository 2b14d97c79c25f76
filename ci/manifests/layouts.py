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
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Literal

from ci.errors import UsageError
from ci.manifests.document import Mapping, Sequence
from ci.manifests.find import Place
from ci.manifests.key_path import Key
from ci.model import ImageRef

Role = Literal["registry", "repository", "tag", "digest", "reference"]
Pin = Literal["digest", "tag"]
HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?"
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"(?:{HOST}/)?{PART}(?:/{PART})*")
REPOSITORY_CHARS_MAX = 255
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
    """What a file says about one image; None: it does not say.

    repository: with its registry's host. style: which way of the table above.
    """

    style: str
    repository: str | None
    tag: str | None
    digest: str | None

    @property
    def image(self) -> ImageRef | None:
        """The whole image; None unless repository and tag are known."""
        if self.repository is None or self.tag is None:
            return None
        return ImageRef(self.repository, self.tag, self.digest)

    def __str__(self) -> str:
        tag = f"{':' if self.repository else ''}{self.tag}" if self.tag else ""
        digest = f"{'@' if self.repository or tag else ''}{self.digest}" if self.digest else ""
        return f"{self.repository or ''}{tag}{digest}" or "nothing"


@dataclass(frozen=True, eq=False)
class Layout:
    """The scalars of one image. at: what the key named, or the mapping around it.

    matched: kustomize's `name`, which is read and never written.
    """

    style: str
    slots: Table[Role, Place]
    at: Place
    matched: str = ""

    @property
    def reading(self) -> Reading:
        """What stands there now."""
        texts = {role: place.text for role, place in self.slots.items()}
        if "reference" in texts:
            repository, tag, digest = _split_reference(texts["reference"])
        else:
            repository = texts.get("repository") or self.matched
            if repository and texts.get("registry"):
                repository = f"{texts['registry']}/{repository}"
            tag, _, digest = texts.get("tag", "").partition("@")
            digest = texts.get("digest") or digest
        return Reading(self.style, repository or None, tag or None, digest or None)


def check_image(image: ImageRef) -> None:
    """`UsageError` unless `image` is one that a registry could hold."""
    name = image.repository.encode("unicode_escape").decode()
    if "://" in image.repository:
        raise UsageError(f'"{name}" has a scheme; an image is named without one')
    if "@" in image.repository or ":" in image.name:
        raise UsageError(f'"{name}" has a tag or a digest; they are given apart')
    if len(name) > REPOSITORY_CHARS_MAX or not REPOSITORY.fullmatch(image.repository):
        raise UsageError(
            f'"{name}" is not a repository: [host[:port]/]name, the name in lower-case letters, '
            "digits and single . _ - between them"
        )
    if image.digest == "":
        raise UsageError("an empty digest; leave it out")
    try:
        ImageRef.parse(str(image))
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def layout(place: Place) -> Layout:
    """Which scalars hold the image that `place` names; refused by name when none can."""
    node = place.value
    if isinstance(node, Mapping):
        return _of_mapping(place)
    if isinstance(node, Sequence):
        raise place.refusal("is a list; name one item: [0], or [name=…]", NO_IMAGE)
    name = place.path[-1].name if place.path and isinstance(place.path[-1], Key) else ""
    is_tag_key = name == "version" or name.lower().endswith("tag")
    if place.parent is not None and (is_tag_key or name == "digest"):
        return _of_mapping(place.parent, name)
    return _of_text(place, name)


def texts(layout: Layout, image: ImageRef, pin: Pin) -> dict[Role, str]:
    """What each scalar shall read; those that are right already included.

    pin: `tag` leaves no digest where one stood, so that the file renders `repository:tag`.
    """
    slots = layout.slots
    if "reference" in slots:
        return {"reference": str(image)}
    values = _repository_texts(layout, image)
    if "digest" not in slots:
        return values | {"tag": image.pin}
    digest = slots["digest"]
    if image.digest:
        values["digest"] = image.digest
    elif pin == "tag" and "tag" not in slots:
        why = "has no key to hold the tag, and is to be pinned by it; add one"
        raise layout.at.refusal(why, "no_slot")
    elif pin == "tag" and digest.text:
        values["digest"] = ""
    elif digest.text or "tag" not in slots:
        why = f"pins a digest, which wins over any tag, and no digest was given for {image}"
        raise digest.refusal(why, "digest_stays")
    if "tag" in slots:
        values["tag"] = image.tag
    return values


def _split_reference(text: str) -> tuple[str, str, str]:
    """Repository, tag and digest of `repo[:tag][@digest]`; empty where there is none."""
    rest, _, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag, digest


def _repository_texts(layout: Layout, image: ImageRef) -> dict[Role, str]:
    slots, current = layout.slots, layout.reading.repository
    if current == image.repository:  # written again only where a bare text is no text to all
        parts: tuple[Role, ...] = ("registry", "repository")
        return {role: slots[role].text for role in parts if role in slots and slots[role].text}
    if "repository" not in slots:
        if not layout.matched:
            return {}  # a tag alone: nothing says of which image
        why = (
            f"is about {current} and has no newName to hold "
            f"{image.repository}; add newName, or name that image"
        )
        raise layout.at.refusal(why, "no_slot")
    registry = slots["registry"].text if "registry" in slots else ""
    if not registry:
        return {"repository": image.repository}
    if image.repository.startswith(f"{registry}/"):
        return {"repository": image.repository.removeprefix(f"{registry}/")}
    host, slash, rest = image.repository.partition("/")
    if not slash or not (set(host) & set(".:") or host == "localhost"):
        host, rest = HUB, image.repository
    return {"registry": host, "repository": rest}


def _of_mapping(place: Place, named: str = "") -> Layout:
    """The layout of a mapping. named: the tag or digest in it that the key named."""
    keys = KEYS | {"tag": (named, *KEYS["tag"])} if named not in {"", "digest"} else KEYS
    scalars = place.scalars(keys)
    tag, digest, repository = (scalars.get(role) for role in ("tag", "digest", "repository"))
    name, new_name, new_tag = (scalars.get(role) for role in ("name", "newName", "newTag"))
    if name and (new_tag or new_name or (digest and not repository and not tag)):
        if new_tag is None and digest is None:
            why = "has neither newTag nor digest; add one, empty"
            raise place.refusal(why, "no_slot")
        slots = _present(repository=new_name, tag=new_tag, digest=digest)
        style = "+".join(str(slot.path[-1]) for slot in slots.values())
        return Layout(f"kustomize {style}", slots, place, name.text)
    if tag is None and digest is None:
        image = place.child("image")
        why = f"holds no tag and no digest{f'; was {image.name} meant?' if image else ''}"
        named_so = repository is not None and repository.path[-1] == Key("repository")
        status = "no_slot" if named_so else NO_IMAGE
        raise place.refusal(why, status)
    if repository is None and name is not None and "/" in name.text:
        repository = name
    if repository is None:
        if not named:
            raise place.refusal("holds no repository; name its tag", NO_IMAGE)
    elif any(_split_reference(repository.text)[1:]):
        why = "has a tag of its own, beside a tag in the next key"
        raise repository.refusal(why, "two_tags")
    elif "://" in repository.text:
        raise repository.refusal("is a URL, not the repository of an image", NO_IMAGE)
    registry = scalars.get("registry") if repository else None
    slots = _present(registry=registry, repository=repository, tag=tag, digest=digest)
    return Layout("+".join(slots), slots, place)


def _present(**slots: Place | None) -> dict[Role, Place]:
    return {role: slot for role, slot in slots.items() if slot is not None}  # type: ignore[misc]


def _of_text(place: Place, name: str) -> Layout:
    """The layout of one text, under the key `name`, with the whole image or the tag in it."""
    value, holds_reference = place.text, name.lower().endswith("image")
    repository, tag, digest = _split_reference(value)
    if "://" in value or re.search(r"\s", value):
        raise place.refusal("holds no image", NO_IMAGE)
    if not tag and not digest and name in {"repository", "registry", "newName", "name"}:
        why = "names a repository only; name the mapping it is in"
        raise place.refusal(why, NO_IMAGE)
    if value and not holds_reference and "/" not in value and not tag:
        if not TAG_SHAPE.fullmatch(value):
            raise place.refusal("holds no image", NO_IMAGE)
        return Layout("tag", {"tag": place}, place)
    if not value and not holds_reference:
        why = "is empty, and its name does not say whether a tag or an image belongs there"
        raise place.refusal(why, NO_IMAGE)
    if value and not repository:
        raise place.refusal("holds no image", NO_IMAGE)
    return Layout("reference", {"reference": place}, place)
