"""The edit: which characters change, and the proof that nothing else did.

    find ─► layout ─► texts ─► splices ─► new bytes ─► read again ─► compare

The comparison runs on every edit: each scalar changed must read what was wanted, every other event
must be what it was, the characters around the splices must be equal, and the same edit once more
must change nothing. Where it does not hold, nothing is returned: `Defect`.

A scalar keeps its quotes. A bare one stays bare while no reader can mistake the text: YAML 1.1, 1.2
and what go-yaml, PyYAML and ruamel do beyond them. Helm 4 prints an unquoted 0123 as 83.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ci.errors import CiError, Defect, UsageError
from ci.manifests import key_path
from ci.manifests.document import YamlFile, read
from ci.manifests.find import INHERITED, Place, find
from ci.manifests.layouts import Layout, Pin, Reading, layout
from ci.model import ImageRef

# What an image, a tag or a digest is made of; anything else is quoted without a second thought.
BARE = re.compile(r"[A-Za-z0-9_./@][A-Za-z0-9_./@:+-]*(?<!:)")
NO_TEXT = re.compile(  # digits may be grouped by underscores, which are gone: 1_000
    r"""[-+]?(
      0x[0-9a-f.]*(p[-+]?[0-9]+)?                  # 0x10, and Go's 0x1p-2
    | 0o?[0-7]* | 0b[01]*                          # 0123 is 83, 0o17 is 15
    | [0-9]+\.?[0-9]*(e[-+]?[0-9]*)?               # 41, 1.20, 7e3, 12e4567, 00e1
    | \.[0-9]+(e[-+]?[0-9]*)?
    | [0-9]+(:[0-9]+)+(\.[0-9]*)?                  # 12:30:45 counts seconds
    | \.?(inf|infinity|nan)
    )
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(t.*)?         # a date
    | y|n|yes|no|on|off|true|false|null|nil|none|~|=|<<|\.{0,3}""",
    re.VERBOSE | re.IGNORECASE,
)
STR = "tag:yaml.org,2002:str"


class ScalarChange(NamedTuple):
    """One scalar before and after. key: its full path; old: None when nothing was there."""

    key: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Edit:
    """A file after the edit; before: what it said of the image."""

    content: bytes
    changes: tuple[ScalarChange, ...]
    before: Reading


class _Splice(NamedTuple):
    """The characters from `start` up to `end` become `text`."""

    start: int
    end: int
    text: str
    event: int
    role: str
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
    there. same_image: refuse where another image stands. file: what messages call the file.
    """
    path = key_path.parse(key)
    try:
        ImageRef.parse(str(image))
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    image = replace(image, digest=None) if pin == "tag" else image

    def plan(old: YamlFile) -> tuple[Layout, list[_Splice]]:
        there = layout(find(old, path, document))
        current = there.reading.repository
        if same_image and current and current.rpartition("/")[2] != image.name:
            place = there.slots.get("repository") or there.slots.get("reference") or there.at
            why = f"is about the image {current}, not {image.repository}"
            raise there.at.refusal(why, "other_image", place.node)
        texts = there.texts(image, pin).items()
        splices = [_splice(role, there.slots[role], text) for role, text in texts]
        return there, sorted(filter(None, splices))

    old = read(content, file)
    there, splices = plan(old)
    if not splices:
        return Edit(content, (), there.reading)
    new_content = (old.bom + _spliced(old.text, splices)).encode()
    _verify(old, new_content, splices, plan)
    return Edit(new_content, tuple(splice.change for splice in splices), there.reading)


def current_image(
    content: bytes, key: str, document: int | None = None, *, file: str = ""
) -> Reading:
    """What `content` says about the image at `key`. document: which one of several, from 0."""
    path = key_path.parse(key)
    return layout(find(read(content, file), path, document)).reading


def _splice(role: str, slot: Place, value: str) -> _Splice | None:
    """The change that makes `slot` read `value`; None when every reader reads it already."""
    node = slot.node.resolved
    is_certain = node.style or node.tag == STR or not is_ambiguous(node.value)
    if node.value == value and is_certain:
        return None
    _check_writable(slot)
    change = ScalarChange(slot.name, slot.text or None, value)
    text = _written(slot, value)
    return _Splice(node.value_start, node.value_end, text, node.event, role, change)


def _check_writable(slot: Place) -> None:
    """Refused unless the scalar can be changed, and nothing else with it."""
    if slot.is_inherited:
        raise slot.refusal(INHERITED, "merge")
    slot.check_no_alias()
    slot.check_one_line()
    node = slot.node
    if node.uses:
        times = f"{node.uses} alias{'es' * (node.uses > 1)} elsewhere"
        why = f"has the anchor &{node.anchor}, repeated by {times}; an edit would change those too"
        raise slot.refusal(why, "anchor")
    if node.tag not in {None, STR}:
        raise slot.refusal(f"has the tag {node.tag}; only !!str is kept", "tag")
    if node.value_start == node.value_end and not node.insertable:
        raise slot.refusal(f"is a key without a colon; write {slot.name}:", "no_slot")


def _written(slot: Place, value: str) -> str:
    """`value` the way the slot is written."""
    node = slot.node
    if node.style:
        return quoted(value, node.style)
    like_json = node.in_flow and slot.key and slot.key.style == '"'
    colon_in_flow = node.in_flow and ":" in value and ":" not in node.value
    # `!!str` says the type; what else may be wrong with a bare text stays wrong
    is_text = BARE.fullmatch(value) if node.tag == STR else not is_ambiguous(value)
    text = value if is_text and not like_json and not colon_in_flow else quoted(value, '"')
    return text if node.value_end > node.value_start else f" {text}"


def quoted(text: str, style: str) -> str:
    """`text` in the quotes `style`, which is `'` or `"`."""
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def is_ambiguous(text: str) -> bool:
    """Whether some reader takes the bare `text` for anything but this text."""
    return not BARE.fullmatch(text) or bool(NO_TEXT.fullmatch(text.replace("_", "")))


def _spliced(text: str, splices: Sequence[_Splice]) -> str:
    for splice in reversed(splices):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


def _verify(
    old: YamlFile,
    new_content: bytes,
    splices: Sequence[_Splice],
    plan: Callable[[YamlFile], tuple[Layout, list[_Splice]]],
) -> None:
    """`Defect` unless only the scalars in `splices` changed, and read what they shall."""
    try:
        new = read(new_content, old.name)
        there, again = plan(new)
    except CiError as exc:
        raise Defect(f"after the edit the file could not be read again: {exc}") from exc
    if again:
        raise Defect(f"{old.name}: the same edit once more would change something again")
    changed = {splice.event for splice in splices}
    before, after = (
        [event for number, event in enumerate(file.events) if number not in changed]
        for file in (old, new)
    )
    nodes = [there.slots[splice.role].node for splice in splices]
    back = [  # a blank was put behind the colon of an empty value
        splice._replace(
            start=node.value_start - (splice.start == splice.end),
            end=node.value_end,
            text=old.text[splice.start : splice.end],
        )
        for node, splice in zip(nodes, splices, strict=True)
    ]
    if before != after or (old.bom, old.text) != (new.bom, _spliced(new.text, back)):
        raise Defect(f"{old.name}: the edit changed more than the image")
