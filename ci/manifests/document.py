"""A YAML file as nodes that know which characters they are.

    bytes ─ decode ─► text ─ libyaml ─► events ─ here ─► nodes

libyaml is what go-yaml, and so Helm, kubectl and Argo CD, are ported from. Values are never loaded
into Python's types: `12e4567`, a short commit hash, would come back as infinity. Events, not
composed nodes: composed, an alias *is* the node of its anchor.

libyaml's marks count characters. Two things they do not say are read from the text: where a value
starts behind its anchor or tag, and behind which `:` or `-` an empty value belongs.
"""

import codecs
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from ci.errors import Refused
from ci.manifests.refusals import Position, refused

BYTES_MAX = 2 * 1024 * 1024  # what a cluster stores in one object is smaller
DEPTH_MAX = 200
BOM = "\ufeff"
LINE = re.compile(r"\r\n|\r|\n")
NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BREAKS_OF_YAML_1_1 = re.compile("[\x85\u2028\u2029]")
PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*(?:[ \t\r\n]+(?:#[^\r\n]*)?)*){1,2}")
INDICATOR_OR_COMMENT = re.compile(r"#[^\r\n]*|[^ \t\r\n]")
COMMENT_OR_TAB = re.compile(r"#[^\r\n]*|(\t)")
TAB = (
    "not readable as YAML: while scanning for the next token, found character '\\t' that cannot "
    "start any token"
)
AFTER_ANCHOR = re.compile(r"[ \t\r\n,\]}]|\Z")


@dataclass(eq=False, kw_only=True, slots=True)
class Node:
    """start: its first character, with anchor and tag. event: its place in `YamlFile.events`.

    uses: how many aliases stand for it. in_flow: inside `{}` or `[]`.
    """

    start: int
    event: int
    anchor: str | None
    tag: str | None
    in_flow: bool
    uses: int = 0


@dataclass(eq=False, kw_only=True, slots=True)
class Scalar(Node):
    """value_start, value_end: the value with its quotes; one place when nothing is written.

    style: `"`, `'`, `|`, `>`, or empty for a bare one. insertable: when nothing is written, a value
    can be put there (`tag:` and `- `, but not `{tag}`).
    """

    value: str
    style: str
    value_start: int
    value_end: int
    insertable: bool

    @property
    def is_unwritten(self) -> bool:
        """`tag:` with nothing behind it."""
        return self.value_start == self.value_end


@dataclass(eq=False, slots=True)
class Entry:
    """One key of a mapping; complex: with `?`, or a key that is not a text."""

    key: Node
    value: Node
    is_complex: bool


@dataclass(eq=False, kw_only=True, slots=True)
class Mapping(Node):
    """Entries in the order of the file, doubled keys and merges included."""

    entries: list[Entry] = field(default_factory=list)


@dataclass(eq=False, kw_only=True, slots=True)
class Sequence(Node):
    """Items in the order of the file."""

    items: list[Node] = field(default_factory=list)


@dataclass(eq=False, kw_only=True, slots=True)
class Alias(Node):
    """`*name`, and what it stands for."""

    name: str
    target: Node


class EventFacts(NamedTuple):
    """All an event says but where: what must be equal before and after an edit."""

    kind: str
    value: str | None
    anchor: str | None
    tag: str | None
    style: object


@dataclass(frozen=True)
class YamlFile:
    """One file. text: without the byte order mark, which `bom` keeps; documents: their roots."""

    bom: str
    text: str
    events: list[EventFacts] = field(default_factory=list)
    documents: list[Node] = field(default_factory=list)

    def position(self, index: int) -> Position:
        """Line and column of the character `index`."""
        ends = [0, *(end.end() for end in LINE.finditer(self.text, 0, index))]
        return Position(len(ends), index - ends[-1] + 1)

    def refusal(self, index: int, text: str, status: str, **facts: Any) -> Refused:
        """A refusal about the character `index`."""
        return refused(text, status, self.position(index), **facts)


def read(content: bytes) -> YamlFile:
    """The nodes of all documents; `unreadable` when a reader of YAML would stop, and where."""
    file = _decoded(content)
    builder = _Builder(file)
    try:
        for event in yaml.parse(file.text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.YAMLError as exc:
        raise _unreadable(file, exc) from exc
    return file


def _decoded(content: bytes) -> YamlFile:
    """The text of `content`, without nodes yet."""
    if len(content) > BYTES_MAX:
        text = f"{len(content)} bytes; a manifest above {BYTES_MAX} is not read"
        raise refused(text, "unreadable")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refused("the file is UTF-16; only UTF-8 is read", "unreadable")
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        before = YamlFile("", content[: exc.start].decode().removeprefix(BOM))
        problem = f"not UTF-8: byte {exc.start} is 0x{content[exc.start]:02x}"
        raise before.refusal(len(before.text), problem, "unreadable") from exc
    file = YamlFile(BOM if text.startswith(BOM) else "", text.removeprefix(BOM))
    if file.text.startswith(BOM):
        raise refused("two byte order marks; readers differ about the second", "unreadable")
    if found := NOT_IN_YAML.search(file.text):
        hint = "; is the file UTF-16?" if found.group() == "\0" else ""
        problem = f"the character U+{ord(found.group()):04X} is not allowed in YAML{hint}"
        raise file.refusal(found.start(), problem, "unreadable")
    if found := BREAKS_OF_YAML_1_1.search(file.text):
        problem = (
            f"the character U+{ord(found.group()):04X} ends a line in YAML 1.1 and not in 1.2, so "
            "readers differ; write it as an escape in double quotes"
        )
        raise file.refusal(found.start(), problem, "unreadable")
    return file


def _unreadable(file: YamlFile, exc: yaml.YAMLError) -> Refused:
    if not isinstance(exc, yaml.MarkedYAMLError) or exc.problem_mark is None:
        return refused(f"not readable as YAML: {exc}", "unreadable")
    index = min(exc.problem_mark.index, len(file.text))
    problem = ", ".join(part for part in (exc.context, exc.problem) if part)
    problem = problem.replace("character that", f"character {file.text[index : index + 1]!r} that")
    if re.search(r"^[^#\n\r\"']*\{\{", file.text, re.MULTILINE):
        problem += "; {{ }} looks like a Helm template: name the values file it reads"
    return file.refusal(index, f"not readable as YAML: {problem}", "unreadable")


@dataclass(eq=False, slots=True)
class _Open:
    """A container that is not closed yet, and the key that waits for its value."""

    node: Mapping | Sequence
    in_flow: bool
    key: Node | None = None
    is_complex: bool = False


class _Builder:
    """Events in, nodes out; a stack instead of recursion, so depth has a limit of our own."""

    def __init__(self, file: YamlFile) -> None:
        self.file = file
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.end = 0  # of the last event: between it and the next are blanks, comments, indicators

    def take(self, event: Any) -> None:
        """One more event."""
        kind, start, end = type(event), event.start_mark.index, event.end_mark.index
        is_bare = kind is yaml.ScalarEvent and not event.style
        tabs = (m.start() for m in COMMENT_OR_TAB.finditer(self.file.text, self.end, start) if m[1])
        tab = next(tabs, self.file.text.find("\t", start, end) if is_bare else -1)
        if tab >= 0:  # libyaml goes on, Python's readers stop, in these words
            raise self.file.refusal(tab, TAB, "unreadable")
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        value: str | None = None
        style: object = None
        if kind is yaml.ScalarEvent:
            value, style = event.value, event.style
        elif kind is yaml.DocumentStartEvent:
            self.anchors = {}
            style = (event.explicit, event.version, str(event.tags))
        elif kind is yaml.DocumentEndEvent:
            style = event.explicit
        elif kind in {yaml.MappingStartEvent, yaml.SequenceStartEvent}:
            style = event.flow_style
        self.file.events.append(EventFacts(kind.__name__, value, anchor, tag, style))
        if kind in {yaml.MappingEndEvent, yaml.SequenceEndEvent}:
            self.stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event, start, end)
            # `[` and the `-` of a list below its key are inside the event, and may come before an
            # empty value.
            end = end if kind in {yaml.ScalarEvent, yaml.AliasEvent} else start
        self.end = end

    def _take_node(self, event: Any, start: int, end: int) -> None:
        parent = self.stack[-1] if self.stack else None
        if parent and isinstance(parent.node, Mapping) and "?" in self._indicators(start):
            parent.is_complex = True
        common: dict[str, Any] = {
            "start": start,
            "event": len(self.file.events) - 1,
            "anchor": event.anchor,
            "tag": getattr(event, "tag", None),
            "in_flow": parent is not None and parent.in_flow,
        }
        if event.anchor:
            self._check_anchor(event, start)
        if isinstance(event, yaml.AliasEvent):
            name = str(event.anchor)
            target = self._anchored(name, start)
            self._add(Alias(**common | {"anchor": None}, name=name, target=target))
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event, common, end))
        else:
            self._open(event, common)

    def _indicators(self, end: int) -> str:
        """What stands between the last event and `end` besides blanks and comments."""
        return re.sub(r"#[^\r\n]*", "", self.file.text[self.end : end])

    def _scalar(self, event: Any, common: dict[str, Any], end: int) -> Scalar:
        start, insertable = common["start"], True
        if event.value or event.style:
            # No value starts with & or !, so what does is an anchor or a tag.
            if properties := PROPERTIES.match(self.file.text, start, end):
                start = properties.end()
        elif common["anchor"] or common["tag"]:
            start = end
        else:
            marks = list(INDICATOR_OR_COMMENT.finditer(self.file.text, self.end, end))
            last = next((mark for mark in reversed(marks) if mark[0][0] != "#"), None)
            insertable = last is not None and last[0] in ":-"
            start = end = common["start"] = last.end() if last and insertable else end
        return Scalar(
            **common,
            value=event.value,
            style=event.style or "",
            value_start=start,
            value_end=end,
            insertable=insertable,
        )

    def _check_anchor(self, event: Any, start: int) -> None:
        """Refused where YAML 1.2 takes more characters into the name than libyaml did."""
        name = ("*" if isinstance(event, yaml.AliasEvent) else "&") + event.anchor
        at = self.file.text.index(name, start)
        if not AFTER_ANCHOR.match(self.file.text, at + len(name)):
            text = f"{name} is followed by another character than a blank, so readers differ"
            raise self.file.refusal(at, text, "unreadable")

    def _anchored(self, name: str, start: int) -> Node:
        target = self.anchors.get(name)
        if target is None:
            text = f"not readable as YAML: the alias *{name} has no anchor before it"
            raise self.file.refusal(start, text, "unreadable")
        target.uses += 1
        return target

    def _open(self, event: Any, common: dict[str, Any]) -> None:
        start, in_flow = common["start"], common["in_flow"]
        if len(self.stack) == DEPTH_MAX:
            text = f"nested deeper than {DEPTH_MAX} levels; no manifest is"
            raise self.file.refusal(start, text, "unreadable")
        if in_flow and self.file.text.startswith("{{", start - 1):
            text = "{{ }} outside quotes: a Helm template, not YAML; name the values file it reads"
            raise self.file.refusal(start - 1, text, "unreadable")
        kind = Mapping if isinstance(event, yaml.MappingStartEvent) else Sequence
        node = kind(**common)
        self._add(node)
        self.stack.append(_Open(node, bool(event.flow_style) or in_flow))

    def _add(self, node: Node) -> None:
        """Put `node` where the innermost open container expects one."""
        if node.anchor is not None:
            self.anchors[node.anchor] = node
        if not self.stack:
            self.file.documents.append(node)
            return
        parent = self.stack[-1]
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            is_complex = parent.is_complex or isinstance(parent.key, Mapping | Sequence)
            parent.node.entries.append(Entry(parent.key, node, is_complex))
            parent.key, parent.is_complex = None, False
