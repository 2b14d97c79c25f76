"""The edit: which characters change, and the proof that nothing else did.

    find ─► layout ─► texts ─► splices ─► new bytes ─► read again ─► compare

The comparison is the promise of this package and runs on every edit, not only in tests: the new
file is read from its bytes; each scalar changed must read what was wanted, every other event must
be what it was, the characters around the splices must be equal, and the same edit once more must
change nothing. Where it does not hold, nothing is returned: `Defect`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import yaml

from ci.errors import CiError, Defect
from ci.manifests import document as documents
from ci.manifests import key_path, layouts, quoting
from ci.manifests.document import Scalar, YamlFile
from ci.manifests.find import STR, Place, check_writable, find
from ci.manifests.layouts import Layout, Pin, Reading, Role
from ci.model import ImageRef


class ScalarChange(NamedTuple):
    """One scalar before and after. key: its full path; old: None when nothing was there."""

    key: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Edit:
    """A file after the edit, which is the very same when there was nothing to do.

    style: how the file writes the image, `layouts` says which ways there are. before: what it said.
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
    role: Role
    change: ScalarChange


def set_image(
    content: bytes,
    key: str,
    image: ImageRef,
    *,
    document: int | None = None,
    pin: Pin = "digest",
    same_image: bool = False,
    file: str = "",
) -> Edit:
    """`content` with `image` at `key`, and every other byte as it was.

    document: which one of several, from 0. pin: `tag` writes no digest, and empties one that stands
    there. same_image: refuse when the last part of the repository that stands there is another
    (`other_image`). file: what messages call the file.
    `UsageError` when the key or the image is none; `Refused` with a status word otherwise.
    """
    layouts.check_image(image)
    path = key_path.parse(key)
    image = replace(image, digest=None) if pin == "tag" else image

    def plan(old: YamlFile) -> tuple[Layout, list[_Splice]]:
        layout = layouts.layout(find(old, path, document))
        if same_image:
            _check_same(layout, image)
        texts = layouts.texts(layout, image, pin)
        splices = [_splice(role, layout.slots[role], text) for role, text in texts.items()]
        return layout, sorted(filter(None, splices))

    try:
        old = documents.read(content)
        layout, splices = plan(old)
        if not splices:
            return Edit(content, (), layout.style, layout.reading)
        new_content = (old.bom + _spliced(old.text, splices)).encode()
        _verify(old, new_content, splices, plan)
    except CiError as error:
        raise _named(error, file) from error.__cause__
    changes = tuple(splice.change for splice in splices)
    return Edit(new_content, changes, layout.style, layout.reading)


def current_image(
    content: bytes, key: str, document: int | None = None, *, file: str = ""
) -> Reading:
    """What `content` says about the image at `key`. document: which one of several, from 0."""
    path = key_path.parse(key)
    try:
        old = documents.read(content)
        return layouts.layout(find(old, path, document)).reading
    except CiError as error:
        raise _named(error, file) from error.__cause__


def _named(error: CiError, file: str) -> CiError:
    """The same error, with the file's name in front."""
    if not file:
        return error
    between = ":" if "line" in error.facts else ": "
    return type(error)(f"{file}{between}{error}", status=error.status, file=file, **error.facts)


def _check_same(layout: Layout, image: ImageRef) -> None:
    current = layout.reading.repository
    if current is None or current.rpartition("/")[2] == image.name:
        return
    place = layout.slots.get("repository") or layout.slots.get("reference") or layout.at
    why = f"is about the image {current}, not {image.repository}"
    raise layout.at.refusal(why, "other_image", place.node, current=current)


def _splice(role: Role, slot: Place, value: str) -> _Splice | None:
    """The change that makes `slot` read `value`; None when every reader reads it already."""
    seen = slot.value
    assert isinstance(seen, Scalar)
    is_certain = seen.style or seen.tag == STR or not quoting.is_ambiguous(seen.value)
    if seen.value == value and is_certain:
        return None
    check_writable(slot, seen)
    old = None if quoting.is_null(seen.value, seen.style) else seen.value
    change = ScalarChange(slot.name, old, value)
    text = _written(seen, slot, value)
    return _Splice(seen.value_start, seen.value_end, text, seen.event, role, change)


def _written(node: Scalar, slot: Place, value: str) -> str:
    """`value` the way the slot is written."""
    if node.style:
        return quoting.quoted(value, node.style)
    like_json = node.in_flow and isinstance(slot.key, Scalar) and slot.key.style == '"'
    colon_in_flow = node.in_flow and ":" in value and ":" not in node.value
    # `!!str` says the type; what else may be wrong with a bare text stays wrong.
    is_text = node.tag == STR and quoting.BARE.fullmatch(value) and not value.endswith(":")
    needs_quotes = quoting.is_ambiguous(value) and not is_text
    quoted = like_json or colon_in_flow or needs_quotes
    shown = quoting.quoted(value, '"') if quoted else value
    return f" {shown}" if node.is_unwritten else shown


def _spliced(text: str, splices: Sequence[_Splice]) -> str:
    pieces, at = [], 0
    for splice in splices:
        pieces += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*pieces, text[at:]])


def _verify(
    old: YamlFile,
    new_content: bytes,
    splices: Sequence[_Splice],
    plan: Callable[[YamlFile], tuple[Layout, list[_Splice]]],
) -> None:
    """`Defect` unless only the scalars in `splices` changed, and read what they shall."""
    try:
        new = documents.read(new_content)
        layout, again = plan(new)
    except CiError as exc:
        raise Defect(f"after the edit the file could not be read again: {exc}") from exc
    if again:
        raise Defect("the same edit once more would change something again")
    _compare(old, new, {splice.event: splice.change.new for splice in splices})
    replaced = [(splice.start, splice.end) for splice in splices]
    written = []
    for splice in splices:
        node = layout.slots[splice.role].node
        assert isinstance(node, Scalar)
        blank = splice.start == splice.end  # one comes before what is put behind a colon
        written.append((node.value_start - blank, node.value_end))
    if old.bom != new.bom or _around(old.text, replaced) != _around(new.text, written):
        raise Defect("the edit changed bytes outside the image")


def _compare(old: YamlFile, new: YamlFile, wanted: Mapping[int, str]) -> None:
    """`Defect` unless the events are equal, besides the texts in `wanted`, by number."""
    if len(old.events) != len(new.events):
        raise Defect("the edit changed how many values the file has")
    for number, (was, now) in enumerate(zip(old.events, new.events, strict=True)):
        if number in wanted:
            value = wanted[number]
            if now != was._replace(value=value, style=now.style):
                raise Defect(f"the edit was to write {value} and wrote something else")
            if not now.style and now.tag != STR and _is_no_text(value):
                raise Defect(f"{value} is not read as a text everywhere")
        elif was != now:
            # Which, and not what: a values file may hold secrets.
            raise Defect(f"the edit changed another value: event {number}, {was.kind}")


def _around(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """The pieces of `text` that are in none of the spans."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _is_no_text(value: str) -> bool:
    """Whether YAML 1.1, as PyYAML has it, makes a number, a date or a bool of the bare `value`."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.values()
    return any(pattern.match(value) for pairs in resolvers for _, pattern in pairs)
