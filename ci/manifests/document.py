"""A YAML file as nodes that know which characters they are.

    bytes ─ decode ─► text ─ ruamel's scanner and parser ─► events ─ here ─► nodes ─► spans

Values are never loaded into Python's types: `12e4567`, a short commit hash, would come back as
infinity. Events, not composed nodes: composed, an alias *is* the node of its anchor, and an anchor
or a tag lies inside the span of its value.

Two marks of the parser are not used. The span of a value starts at its anchor or tag, and an empty
value is said to be where the next token starts, beyond comments and lines; both are read from the
tokens the parser took on the way.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import (
    AnchorToken,
    BlockEntryToken,
    KeyToken,
    ScalarToken,
    TagToken,
    Token,
    ValueToken,
)

from ci.manifests.refusals import Position, refused

BYTES_MAX = 2 * 1024 * 1024  # takes some 15 s; what a cluster stores in one object is smaller
DEPTH_MAX = 200
BOM = "\ufeff"
LINE = re.compile(r"\r\n|\r|\n")
NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BREAKS_OF_YAML_1_1 = re.compile("[\x85\u2028\u2029]")
ANCHOR_OF_ALL_READERS = re.compile(r"[A-Za-z0-9_-]+")
INSERT_BEHIND = (ValueToken, BlockEntryToken, AnchorToken, TagToken)


@dataclass(eq=False, kw_only=True)
class Node:
    """start, end: its characters, anchor and tag included. event: its place in `Text.events`.

    uses: how many aliases stand for it. in_flow: inside `{}` or `[]`.
    """

    start: int
    end: int
    event: int
    anchor: str | None = None
    tag: str | None = None
    uses: int = 0
    in_flow: bool = False


@dataclass(eq=False, kw_only=True)
class Scalar(Node):
    """value_start, value_end: the value with its quotes; one place when nothing is written.

    style: `"`, `'`, `|`, `>`, or empty for a bare one. insertable: when nothing is written, a value
    can be put there (`tag:` and `- `, but not `{tag}`).
    """

    value: str
    style: str
    value_start: int
    value_end: int
    insertable: bool = True

    @property
    def is_unwritten(self) -> bool:
        """`tag:` with nothing behind it."""
        return self.value_start == self.value_end


@dataclass(eq=False, kw_only=True)
class Entry:
    """One key of a mapping; complex: with `?`, or a key that is not a text."""

    key: Node
    value: Node
    is_complex: bool


@dataclass(eq=False, kw_only=True)
class Mapping(Node):
    """Entries in the order of the file, doubled keys and merges included."""

    entries: list[Entry] = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
class Sequence(Node):
    """Items in the order of the file."""

    items: list[Node] = field(default_factory=list)


@dataclass(eq=False, kw_only=True)
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
class Text:
    """One file. text: without the byte order mark, which `bom` keeps; documents: their roots."""

    bom: str
    text: str
    events: list[EventFacts]
    documents: list[Node]

    def position(self, index: int) -> Position:
        """Where in the file the character `index` stands."""
        return position(self.text, index)

    def encoded(self, text: str) -> bytes:
        """`text` as the bytes of this file."""
        return (self.bom + text).encode()


def position(text: str, index: int) -> Position:
    """Line and column of the character `index` of `text`, counted from 1."""
    line, start = 1, 0
    for found in LINE.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return Position(line, index - start + 1)


def read(content: bytes) -> Text:
    """The nodes of all documents; `unreadable` when a reader of YAML would stop, and where."""
    text = _decoded(content)
    bom = BOM if text.startswith(BOM) else ""
    text = text.removeprefix(bom)
    _check_characters(text)
    builder = _Builder(text)
    try:
        for event, taken in _events(text):
            builder.take(event, taken)
    except YAMLError as exc:
        raise _unreadable(text, exc) from exc
    except (ValueError, OverflowError, IndexError, TypeError, AttributeError) as exc:
        # "\UFFFFFFFF", %YAML 1.x: what the parser trips over itself is not YAML either.
        raise refused(f"not readable as YAML: {exc}", "unreadable") from exc
    return Text(bom, text, builder.facts, builder.documents)


def _decoded(content: bytes) -> str:
    if len(content) > BYTES_MAX:
        raise refused(
            f"{len(content)} bytes; a manifest above {BYTES_MAX} is not read", "unreadable"
        )
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refused("the file is UTF-16; only UTF-8 is read", "unreadable")
    try:
        return content.decode("utf-8", errors="strict")
    except UnicodeDecodeError as exc:
        before = content[: exc.start].decode("utf-8").removeprefix(BOM)
        raise refused(
            f"not UTF-8: byte {exc.start} is 0x{content[exc.start]:02x}",
            "unreadable",
            position(before, len(before)),
        ) from exc


def _check_characters(text: str) -> None:
    if text.startswith(BOM):
        raise refused("two byte order marks; readers differ about the second", "unreadable")
    if found := NOT_IN_YAML.search(text):
        hint = "; is the file UTF-16?" if found.group() == "\0" else ""
        raise refused(
            f"the character U+{ord(found.group()):04X} is not allowed in YAML{hint}",
            "unreadable",
            position(text, found.start()),
        )
    if found := BREAKS_OF_YAML_1_1.search(text):
        raise refused(
            f"the character U+{ord(found.group()):04X} ends a line in YAML 1.1 and not in 1.2, so "
            "readers differ; write it as an escape in double quotes",
            "unreadable",
            position(text, found.start()),
        )


def _unreadable(text: str, exc: YAMLError) -> Exception:
    if not isinstance(exc, MarkedYAMLError) or exc.problem_mark is None:
        return refused(f"not readable as YAML: {exc}", "unreadable")
    problem = ", ".join(part for part in (exc.context, exc.problem) if part)
    if re.search(r"^[^#\n\r\"']*\{\{", text, re.MULTILINE):
        problem += "; {{ }} looks like a Helm template: name the values file it reads"
    at = position(text, min(exc.problem_mark.index, len(text)))
    return refused(f"not readable as YAML: {problem}", "unreadable", at)


class _Scanner(Scanner):
    """Remembers which tokens the parser took for one event."""

    def __init__(self, loader: Any = None) -> None:
        self.taken: list[Token] = []
        super().__init__(loader)

    def get_token(self) -> Any:
        token = super().get_token()
        self.taken.append(token)
        return token


def _events(text: str) -> Iterator[tuple[Event, list[Token]]]:
    """The events of `text`, each with the tokens it was made of."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    for event in yaml.parse(text):
        scanner = cast("_Scanner", yaml.scanner)
        yield event, scanner.taken
        scanner.taken = []


@dataclass(eq=False)
class _Open:
    """A container that is not closed yet, and the key that waits for its value."""

    node: Mapping | Sequence
    in_flow: bool
    key: Node | None = None
    is_complex: bool = False


class _Builder:
    """Events in, nodes out; a stack instead of recursion, so depth has a limit of our own."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.facts: list[EventFacts] = []
        self.documents: list[Node] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.last: Token | None = None

    def take(self, event: Event, taken: list[Token]) -> None:
        """One more event; `taken`: the tokens the parser read for it."""
        # The KeyToken of a written `?` has a length; that of a simple key has none.
        asked = any(
            isinstance(token, KeyToken) and token.start_mark.index < token.end_mark.index
            for token in taken
        )
        if asked and isinstance(self.stack[-1].node, Mapping):
            self.stack[-1].is_complex = True
        if taken:
            self.last = taken[-1]
        facts = _facts(event)
        self.facts.append(facts)
        match event:
            case DocumentStartEvent():
                self.anchors = {}
            case ScalarEvent():
                self._add(self._scalar(event, taken, facts))
            case AliasEvent():
                self._add(self._alias(event, facts))
            case MappingStartEvent() | SequenceStartEvent():
                self._open(event, facts, is_complex=asked)
            case MappingEndEvent() | SequenceEndEvent():
                self.stack.pop().node.end = event.end_mark.index

    def _common(self, event: Event, facts: EventFacts) -> dict[str, Any]:
        return {
            "start": event.start_mark.index,
            "end": event.end_mark.index,
            "event": len(self.facts) - 1,
            "anchor": facts.anchor,
            "tag": facts.tag,
            "in_flow": bool(self.stack) and self.stack[-1].in_flow,
        }

    def _scalar(self, event: ScalarEvent, taken: list[Token], facts: EventFacts) -> Scalar:
        written = next((token for token in taken if isinstance(token, ScalarToken)), None)
        last = written or self.last
        assert last is not None  # the stream's own start is a token
        end = last.end_mark.index
        start = written.start_mark.index if written else end
        common = self._common(event, facts)
        if not (facts.anchor or facts.tag):
            common |= {"start": start, "end": end}
        return Scalar(
            **common,
            value=event.value,
            style=event.style or "",
            value_start=start,
            value_end=end,
            insertable=isinstance(last, INSERT_BEHIND),
        )

    def _alias(self, event: AliasEvent, facts: EventFacts) -> Alias:
        name = facts.anchor or ""
        target = self.anchors.get(name)
        if target is None:
            raise refused(
                f"not readable as YAML: the alias *{name} has no anchor before it",
                "unreadable",
                position(self.text, event.start_mark.index),
            )
        target.uses += 1
        common = self._common(event, facts) | {"anchor": None}
        return Alias(**common, name=name, target=target)

    def _open(
        self, event: MappingStartEvent | SequenceStartEvent, facts: EventFacts, *, is_complex: bool
    ) -> None:
        start = event.start_mark.index
        if len(self.stack) == DEPTH_MAX:
            raise refused(
                f"nested deeper than {DEPTH_MAX} levels; no manifest is",
                "unreadable",
                position(self.text, start),
            )
        if self.text.startswith("{{", start - 1) and self.stack and self.stack[-1].in_flow:
            raise refused(
                "{{ }} outside quotes: a Helm template, not YAML; name the values file it reads",
                "unreadable",
                position(self.text, start - 1),
            )
        common = self._common(event, facts)
        node = Mapping(**common) if isinstance(event, MappingStartEvent) else Sequence(**common)
        in_mapping = bool(self.stack) and isinstance(self.stack[-1].node, Mapping)
        self._add(node)
        # `[? a: b]`: the parser has taken the question mark before it opens the mapping.
        first_is_complex = is_complex and isinstance(node, Mapping) and not in_mapping
        in_flow = bool(event.flow_style) or node.in_flow
        self.stack.append(_Open(node, in_flow, is_complex=first_is_complex))

    def _add(self, node: Node) -> None:
        """Put `node` where the innermost open container expects one."""
        if node.anchor is not None:
            if not ANCHOR_OF_ALL_READERS.fullmatch(node.anchor):
                raise refused(
                    f"the anchor &{node.anchor}: its name ends at the first character besides "
                    "letters, digits, _ and - for YAML 1.1, so readers differ",
                    "unreadable",
                    position(self.text, node.start),
                )
            self.anchors[node.anchor] = node
        if not self.stack:
            self.documents.append(node)
            return
        parent = self.stack[-1]
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            is_complex = parent.is_complex or isinstance(parent.key, Mapping | Sequence)
            parent.node.entries.append(Entry(key=parent.key, value=node, is_complex=is_complex))
            parent.key, parent.is_complex = None, False


def _facts(event: Event) -> EventFacts:
    """What the event says; where it says it left out."""
    style: object = None
    value: str | None = None
    match event:
        case ScalarEvent():
            style, value = event.style or "", event.value
        case MappingStartEvent() | SequenceStartEvent():
            style = bool(event.flow_style)
        case DocumentStartEvent():
            style = (event.explicit, event.version, str(event.tags))
        case DocumentEndEvent():
            style = event.explicit
    return EventFacts(
        kind=type(event).__name__,
        value=value,
        anchor=getattr(event, "anchor", None),
        tag=getattr(event, "tag", None),
        style=style,
    )
