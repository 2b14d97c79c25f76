"""The ways manifests write an image, told apart by what the key holds: which scalars are to change.

    what the key names                          the image in it
    ------------------------------------------  ------------------------------------------------
    {repository, tag}                           repository, tag@digest
    {repository, tag, digest}                   each in its own; no digest key gains a digest
    {registry, repository, tag(, digest)}       the registry's host apart, as Bitnami's charts do
    {repository, digest}                        repository, digest; the tag has no place
    {name, newName?, newTag?, digest?}          an entry of kustomize's `images`: name says which
                                                image is replaced and is never changed
    repo, repo:tag, repo:tag@digest             one text: repo:tag@digest
    a key called tag, …Tag or version, or a     tag@digest. When the same mapping holds the
    text that can only be a tag                 repository or a digest, those too are meant
    a key called digest                         the digest; tag and repository beside it as above

A key called `image` or `…Image` holds a whole reference, however short it is now (`nginx`).

The repository may also be called `image`, or `name` when its text has a `/`; the tag `imageTag`.
Empty values (`tag:`, `~`, `null`, `""`) are filled; keys are never added. `tag@digest` in the tag
renders as `repo:tag@digest` with an unchanged chart, so pinning needs no key of its own.
"""

import re
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from ci.errors import UsageError
from ci.manifests import quoting
from ci.manifests.document import LINE, Mapping, Node, Scalar, Sequence, Text
from ci.manifests.find import Found, called, enterable, lookup, resolved
from ci.manifests.key_path import Key, KeyPath, written
from ci.manifests.refusals import refused
from ci.model import ImageRef

Role = Literal["registry", "repository", "tag", "digest", "reference"]
HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?"
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"(?:{HOST}/)?{PART}(?:/{PART})*")
REPOSITORY_CHARS_MAX = 255
TAG_KEYS = ("tag", "imageTag")
TAG_SHAPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]*)?")
HUB = "docker.io"


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
    """The scalars of one image. matched: kustomize's `name`, which is read and never written."""

    style: str
    slots: Table[Role, Found]
    at: Node
    path: KeyPath
    matched: str | None = None
    texts: Table[Role, str] = field(init=False)

    def __post_init__(self) -> None:
        texts = {role: _text(found.node) for role, found in self.slots.items()}
        object.__setattr__(self, "texts", texts)

    @property
    def reading(self) -> Reading:
        """What stands there now."""
        if "reference" in self.slots:
            repository, tag, digest = split_reference(self.texts["reference"])
        else:
            repository = self.texts.get("repository", "") or self.matched or ""
            if repository and self.texts.get("registry"):
                repository = f"{self.texts['registry']}/{repository}"
            tag, _, digest = self.texts.get("tag", "").partition("@")
            digest = self.texts.get("digest", "") or digest
        return Reading(self.style, repository or None, tag or None, digest or None)


def check(image: ImageRef) -> None:
    """`UsageError` unless `image` is one that a registry could hold."""
    problem = repository_problem(image.repository)
    if problem:
        raise UsageError(problem)
    try:
        ImageRef.parse(str(image))
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if image.digest == "":
        raise UsageError("an empty digest; leave it out")


def repository_problem(repository: str) -> str | None:
    """Why `repository` is none; None when it is one."""
    shown = repository.encode("unicode_escape").decode()
    if "://" in repository:
        return f'"{shown}" has a scheme; an image is named without one'
    if "@" in repository or ":" in repository.rpartition("/")[2]:
        return f'"{shown}" has a tag or a digest; they are given apart'
    if len(repository) > REPOSITORY_CHARS_MAX or not REPOSITORY.fullmatch(repository):
        return (
            f'"{shown}" is not a repository: [host[:port]/]name, the name in lower-case letters, '
            "digits and single . _ - between them"
        )
    return None


def split_reference(text: str) -> tuple[str, str, str]:
    """Repository, tag and digest of `repo[:tag][@digest]`; empty where there is none."""
    rest, _, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag, digest


def layout(text: Text, found: Found) -> Layout:
    """Which scalars hold the image that `found` names; refused by name when none can."""
    if isinstance(resolved(found.node), Mapping):
        enterable(text, found)
    node = resolved(found.node)
    if isinstance(node, Mapping):
        return _of_mapping(text, found, node)
    if isinstance(node, Sequence):
        _not_an_image(text, found, "is a list; name one item: [0], or [name=…]")
    assert isinstance(node, Scalar)
    return _of_scalar(text, found, node)


def wanted(text: Text, layout: Layout, image: ImageRef) -> dict[Role, str]:
    """What each scalar shall read; those that are right already included."""
    if "reference" in layout.slots:
        return {"reference": str(image)}
    values = _wanted_repository(text, layout, image)
    if "digest" not in layout.slots:
        return values | {"tag": image.pin}
    if image.digest:
        values["digest"] = image.digest
    elif layout.texts["digest"] or "tag" not in layout.slots:
        place = layout.slots["digest"]
        raise refused(
            f"{written(place.path)} pins a digest, which wins over any tag, and no digest was "
            f"given for {image}",
            "digest_stays",
            text.position(place.node.start),
        )
    if "tag" in layout.slots:
        values["tag"] = image.tag
    return values


def _wanted_repository(text: Text, layout: Layout, image: ImageRef) -> dict[Role, str]:
    current = layout.reading.repository
    if current == image.repository:  # written again only where a bare text is no text to all
        parts: tuple[Role, ...] = ("registry", "repository")
        return {role: layout.texts[role] for role in parts if layout.texts.get(role)}
    if "repository" not in layout.slots:
        if layout.matched is None:
            return {}  # a tag alone: nothing says of which image
        raise refused(
            f"{called(layout.path)} is about {current} and has no newName to hold "
            f"{image.repository}; add newName, or name that image",
            "no_slot",
            text.position(layout.at.start),
        )
    registry = layout.texts.get("registry")
    if not registry:
        return {"repository": image.repository}
    if image.repository.startswith(f"{registry}/"):
        return {"repository": image.repository.removeprefix(f"{registry}/")}
    host, slash, rest = image.repository.partition("/")
    if not slash or not (set(host) & set(".:") or host == "localhost"):
        host, rest = HUB, image.repository
    return {"registry": host, "repository": rest}


def _of_mapping(text: Text, found: Found, mapping: Mapping, named: Found | None = None) -> Layout:
    """The layout of a mapping; `named`: the tag or digest in it that the key named."""

    def get(name: str) -> Found | None:
        child = lookup(text, mapping, path, name)
        if child is not None and not isinstance(resolved(child.node), Scalar):
            return None
        return child

    path = found.path
    first = named.path[-1] if named else None
    tag_keys = (first.name, *TAG_KEYS) if isinstance(first, Key) else TAG_KEYS
    tag = next(filter(None, (get(key) for key in tag_keys if key != "digest")), None)
    digest, name, repository = get("digest"), get("name"), get("repository") or get("image")
    new_tag, new_name = get("newTag"), get("newName")
    if name and (new_tag or new_name or (digest and not repository and not tag)):
        return _of_kustomize(text, found, mapping, (name, new_name, new_tag, digest))
    if tag is None and digest is None:
        hint = _hint(text, found, mapping)
        status = "no_slot" if get("repository") else "not_an_image"
        _not_an_image(text, found, f"holds no tag and no digest{hint}", status)
    if repository is None and name is not None and "/" in _text(name.node):
        repository = name
    if repository is None and named is None:
        _not_an_image(text, found, "holds no repository; name its tag")
    if repository is not None:
        _check_repository(text, repository)
    registry = get("registry") if repository else None
    slots = _present(registry=registry, repository=repository, tag=tag, digest=digest)
    return Layout("+".join(slots), slots, mapping, found.path)


def _present(
    *,
    registry: Found | None = None,
    repository: Found | None = None,
    tag: Found | None = None,
    digest: Found | None = None,
) -> dict[Role, Found]:
    given: dict[Role, Found | None] = {
        "registry": registry,
        "repository": repository,
        "tag": tag,
        "digest": digest,
    }
    return {role: slot for role, slot in given.items() if slot is not None}


def _of_kustomize(
    text: Text,
    found: Found,
    mapping: Mapping,
    entry: tuple[Found, Found | None, Found | None, Found | None],
) -> Layout:
    name, new_name, new_tag, digest = entry
    if new_tag is None and digest is None:
        _not_an_image(text, found, "has neither newTag nor digest; add one, empty", "no_slot")
    slots = _present(repository=new_name, tag=new_tag, digest=digest)
    told = "+".join(str(slot.path[-1]) for slot in (new_name, new_tag, digest) if slot)
    return Layout(f"kustomize {told}", slots, mapping, found.path, matched=_text(name.node))


def _of_scalar(text: Text, found: Found, node: Scalar) -> Layout:
    name = found.path[-1].name if found.path and isinstance(found.path[-1], Key) else ""
    value = _text(node)
    check_writable(text, found, node)
    if found.parent is not None and (is_tag_key(name) or name == "digest"):
        above = Found(found.path[:-1], found.parent, None, None)
        return _of_mapping(text, above, found.parent, named=found)
    repository, tag, digest = split_reference(value)
    if "://" in value or (value and re.search(r"\s", value)):
        _not_an_image(text, found, "holds no image")
    if not tag and not digest and name in {"repository", "registry", "newName", "name"}:
        _not_an_image(text, found, "names a repository only; name the mapping it is in")
    if value and not name.lower().endswith("image") and "/" not in value and not tag:
        if not TAG_SHAPE.fullmatch(value):
            _not_an_image(text, found, "holds no image")
        return Layout("tag", {"tag": found}, node, found.path)
    if not value and not name.lower().endswith("image"):
        _not_an_image(
            text,
            found,
            "is empty, and its name does not say whether a tag or an image belongs there",
        )
    if value and not repository:
        _not_an_image(text, found, "holds no image")
    return Layout("reference", {"reference": found}, node, found.path)


def check_writable(text: Text, found: Found, node: Scalar) -> None:
    """Refused unless the scalar is one piece of text in one line."""
    if node.style in {"|", ">"}:
        _not_an_image(
            text, found, f"is a block scalar ({node.style}); write it in one line", "block_scalar"
        )
    if LINE.search(text.text, node.value_start, node.value_end):
        _not_an_image(text, found, "goes over several lines; write it in one", "multi_line")
    if "{{" in node.value:
        _not_an_image(text, found, "is a template; name the values it reads", "unreadable")


def is_tag_key(name: str) -> bool:
    """Whether a key of that name holds a tag."""
    return name == "version" or name.lower().endswith("tag")


def _check_repository(text: Text, place: Found) -> None:
    value = _text(place.node)
    _, tag, digest = split_reference(value)
    if tag or digest:
        _not_an_image(text, place, "has a tag of its own, beside a tag in the next key", "two_tags")
    if "://" in value:
        _not_an_image(text, place, "is a URL, not the repository of an image")


def _hint(text: Text, found: Found, mapping: Mapping) -> str:
    """Where in the mapping an image seems to be."""
    child = lookup(text, mapping, found.path, "image")
    return f"; was {written(child.path)} meant?" if child else ""


def _text(node: Node) -> str:
    """The text of a scalar, also behind an alias; empty for a null."""
    node = resolved(node)
    assert isinstance(node, Scalar)
    return "" if quoting.is_null(node.value, node.style) else node.value


def _not_an_image(text: Text, found: Found, why: str, status: str = "not_an_image") -> NoReturn:
    name = called(found.path)
    raise refused(f"{name} {why}", status, text.position(found.node.start))
