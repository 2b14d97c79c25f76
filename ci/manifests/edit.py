"""The edit: which characters change, and the proof that nothing else did.

    read ─► find ─► layout ─► wanted ─► splices ─► new bytes ─► read again ─► compare

The comparison is the promise of this package and runs on every edit, not only in tests: the new
file is read from its bytes; each scalar changed must read what was wanted, every other event must
be what it was, the bytes around the splices must be equal, and the same edit once more must find
nothing to do. Where it does not hold, nothing is returned: `Defect`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from ruamel.yaml.resolver import implicit_resolvers

from ci.errors import CiError, Defect
from ci.manifests import document, key_path, quoting, styles
from ci.manifests.document import Alias, Scalar, Text
from ci.manifests.find import Found, called, find
from ci.manifests.key_path import KeyPath, written
from ci.manifests.refusals import refused
from ci.manifests.styles import Layout, Reading
from ci.model import ImageRef

STR = "tag:yaml.org,2002:str"


class ScalarChange(NamedTuple):
    """One scalar before and after. key: its full path; old: None when nothing was there."""

    key: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Edit:
    """A file after the edit, which is the very same when there was nothing to do.

    style: how the file writes the image, `styles` says which ways there are. before: what it said.
    """

    content: bytes
    changes: tuple[ScalarChange, ...]
    style: str
    before: Reading


class _Splice(NamedTuple):
    """The characters from `start` up to `end` become `text`."""

    start: int
    end: int
    text: str
    event: int
    value: str
    change: ScalarChange


def set_image(
    content: bytes,
    key: str,
    image: ImageRef,
    *,
    document: int | None = None,
    same_image: bool = False,
    file: str = "",
) -> Edit:
    """`content` with `image` at `key`, and every other byte as it was.

    document: which one of several, from 0. same_image: refuse when the last part of the repository
    that stands there is another (`other_image`). file: what messages call the file.
    `UsageError` when the key or the image is none; `Refused` with a status word otherwise.
    """
    styles.check(image)
    path = key_path.parse(key)
    try:
        text = _read(content)
        layout, splices = _plan(text, path, image, document, same_image=same_image)
        before = layout.reading
        changes = tuple(splice.change for splice in splices)
        if not splices:
            return Edit(content, (), layout.style, before)
        new_content = text.encoded(_spliced(text.text, splices))
        _prove(content, text, new_content, splices, (path, image, document))
    except CiError as error:
        raise _within(error, file) from error.__cause__
    return Edit(new_content, changes, layout.style, before)


def current_image(
    content: bytes, key: str, document: int | None = None, *, file: str = ""
) -> Reading:
    """What `content` says about the image at `key`."""
    path = key_path.parse(key)
    try:
        text = _read(content)
        return styles.layout(text, find(text, path, document)).reading
    except CiError as error:
        raise _within(error, file) from error.__cause__


def _read(content: bytes) -> Text:
    return document.read(content)


def _within(error: CiError, file: str) -> CiError:
    """The same error, told with the file's name in front."""
    if not file:
        return error
    between = ":" if "line" in error.facts else ": "
    return type(error)(f"{file}{between}{error}", status=error.status, file=file, **error.facts)


def _plan(
    text: Text, path: KeyPath, image: ImageRef, document: int | None, *, same_image: bool
) -> tuple[Layout, list[_Splice]]:
    """What is to change, in the order of the file; empty when the file says it already."""
    layout = styles.layout(text, find(text, path, document))
    if same_image:
        _check_same(text, layout, image)
    values = styles.wanted(text, layout, image)
    splices = [
        splice
        for role, value in values.items()
        if (splice := _splice(text, layout.slots[role], value)) is not None
    ]
    return layout, sorted(splices)


def _check_same(text: Text, layout: Layout, image: ImageRef) -> None:
    current = layout.reading.repository
    if current is None or current.rpartition("/")[2] == image.name:
        return
    place = layout.slots.get("repository") or layout.slots.get("reference")
    at = place.node if place else layout.at
    raise refused(
        f"{called(layout.path)} is about the image {current}, not {image.repository}",
        "other_image",
        text.position(at.start),
        current=current,
    )


def _splice(text: Text, slot: Found, value: str) -> _Splice | None:
    """The change that makes `slot` read `value`; None when every reader reads it already."""
    name, node = written(slot.path), slot.node
    seen = node.target if isinstance(node, Alias) else node
    assert isinstance(seen, Scalar)
    certain = seen.style or seen.tag == STR or not quoting.is_ambiguous(seen.value)
    if seen.value == value and certain:
        return None
    at = text.position(node.start)
    if slot.inherited:
        raise refused(f"{name} is inherited by a merge (<<) and not written there", "merge", at)
    if isinstance(node, Alias):
        raise refused(
            f"{name} is the alias *{node.name} of what stands at "
            f"{text.position(node.target.start)}; an edit there would change both",
            "alias",
            at,
        )
    styles.check_writable(text, slot, seen)
    _check_slot(text, name, seen)
    change = ScalarChange(
        name, None if quoting.is_null(seen.value, seen.style) else seen.value, value
    )
    new = _written(seen, slot, value)
    return _Splice(seen.value_start, seen.value_end, new, seen.event, value, change)


def _check_slot(text: Text, name: str, node: Scalar) -> None:
    """Refused unless the scalar is of a kind that is changed without changing anything else."""
    at = text.position(node.start)
    if node.uses:
        raise refused(
            f"{name} has the anchor &{node.anchor}, repeated by {node.uses} alias"
            f"{'es' * (node.uses > 1)} elsewhere; an edit would change those too",
            "anchor",
            at,
        )
    if node.tag not in {None, STR}:
        raise refused(f"{name} has the tag {node.tag}; only !!str is kept", "tag", at)
    if node.is_unwritten and not node.insertable:
        raise refused(f"{name} is a key without a colon; write {name}:", "no_slot", at)


def _written(node: Scalar, slot: Found, value: str) -> str:
    """`value` the way the slot is written."""
    if node.style:
        return quoting.quoted(value, node.style)
    like_json = node.in_flow and isinstance(slot.key, Scalar) and slot.key.style == '"'
    colon_in_flow = node.in_flow and ":" in value and ":" not in node.value
    ambiguous = quoting.is_ambiguous(value) and not (node.tag == STR and _is_safe_under_str(value))
    bare = not (like_json or colon_in_flow or ambiguous)
    shown = value if bare else quoting.quoted(value, '"')
    return f" {shown}" if node.is_unwritten else shown


def _is_safe_under_str(value: str) -> bool:
    """Whether only its type is in doubt, which `!!str` settles."""
    return bool(quoting.BARE.fullmatch(value)) and not value.endswith(":")


def _spliced(text: str, splices: list[_Splice]) -> str:
    pieces, at = [], 0
    for splice in splices:
        pieces += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*pieces, text[at:]])


def _prove(
    content: bytes,
    old: Text,
    new_content: bytes,
    splices: list[_Splice],
    asked: tuple[KeyPath, ImageRef, int | None],
) -> None:
    """`Defect` unless only the scalars in `splices` changed, and read what they shall."""
    try:
        new = _read(new_content)
        layout, left = _plan(new, *asked, same_image=False)
    except CiError as exc:
        raise Defect(f"after the edit the file could not be read again: {exc}") from exc
    wanted = {splice.event: splice.value for splice in splices}
    if len(old.events) != len(new.events):
        raise Defect("the edit changed how many values the file has")
    for number, (was, now) in enumerate(zip(old.events, new.events, strict=True)):
        if number not in wanted:
            if was != now:
                # Which, and not what: a values file may hold secrets.
                raise Defect(f"the edit changed another value: event {number}, {was.kind}")
            continue
        if now._replace(value=was.value, style=was.style) != was or now.value != wanted[number]:
            raise Defect(f"the edit was to write {wanted[number]} and wrote something else")
        if not now.style and now.tag != STR and _reads_as_other(now.value):
            raise Defect(f"{wanted[number]} is not read as a text everywhere")
    if left:
        raise Defect("the same edit once more would change something again")
    inserted = {splice.event for splice in splices if splice.start == splice.end}
    nodes = [slot.node for slot in layout.slots.values() if slot.node.event in wanted]
    spans = sorted(
        (node.value_start - (node.event in inserted), node.value_end)  # a blank came before it
        for node in nodes
        if isinstance(node, Scalar)
    )
    replaced = [(splice.start, splice.end) for splice in splices]
    if _outside(content, old, replaced) != _outside(new_content, new, spans):
        raise Defect("the edit changed bytes outside the image")


def _outside(content: bytes, text: Text, spans: list[tuple[int, int]]) -> list[bytes]:
    """The bytes around the spans, taken from the file itself and not from its text."""
    pieces, at, done = [], len(text.bom.encode()), 0
    for start, end in spans:
        begin = at + len(text.text[done:start].encode())
        pieces.append(content[at:begin])
        at, done = begin + len(text.text[start:end].encode()), end
    return [content[: len(text.bom.encode())], *pieces, content[at:]]


def _reads_as_other(value: str) -> bool:
    """Whether YAML 1.1 or 1.2, as ruamel has them, would make a number, a date or a bool of it."""
    return any(pattern.match(value) for _, _, pattern, _ in implicit_resolvers)
