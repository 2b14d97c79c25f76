"""A YAML file as nodes that know which characters they are.

    bytes ─ decode ─► text ─ PyYAML ─► events ─ here ─► nodes

libyaml, which go-yaml, and so Helm and Argo CD, are ported from, has to take the text as well; it
does not say where an empty value belongs. Values are never loaded: a short commit hash, `12e4567`,
would come back as infinity. Events, not composed nodes: composed, an alias *is* its anchor's node.
"""

import codecs
import collections
import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import yaml

from ci.errors import Refused
from ci.manifests.key_path import UNSHOWN

BYTES_MAX = 2 * 1024 * 1024  # what a cluster stores in one object is smaller
DEPTH_MAX = 200
BOM = "\ufeff"
LINE = re.compile(r"\r\n|\r|\n")
NOT_IN_YAML = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\\A\ufeff"
)  # a byte order mark at the beginning is a second one, about which readers differ
UNREADABLE = {
    NOT_IN_YAML: "is not allowed in YAML",
    re.compile("[\x85\u2028\u2029]"): "ends a line in YAML 1.1 and not in 1.2, so readers differ;"
    " write it as an escape in double quotes",
}
PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*(?:[ \t\r\n]+(?:#[^\r\n]*)?)*){1,2}")
COMMENT = re.compile(r"#[^\r\n]*")
SAID_BY_EVENTS = ("value", "anchor", "tag", "style", "flow_style", "explicit", "version", "tags")
NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(eq=False, kw_only=True, slots=True)
class Node:
    """One value of a file. start: its first character, with anchor and tag.

    event: its place in `YamlFile.events`. in_flow: inside `{}` or `[]`. uses: how many aliases
    stand for it; target: what an alias stands for. entries and items are in the file's order,
    doubled keys and merges included. style of a scalar: `"`, `'`, `|`, `>`, or empty for a bare
    one; value_start, value_end: the value with its quotes, one place when nothing is written;
    insertable: a value can be put there then (`tag:` and `- `, but not `{tag}`).
    """

    start: int
    event: int
    in_flow: bool
    anchor: str | None
    tag: str | None
    kind: Literal["scalar", "mapping", "sequence", "alias"] = "scalar"
    uses: int = 0
    value: str = ""
    style: str = ""
    value_start: int = 0
    value_end: int = 0
    insertable: bool = True
    entries: list["Entry"] = field(default_factory=list)
    items: list["Node"] = field(default_factory=list)
    target: "Node | None" = None

    @property
    def resolved(self) -> "Node":
        """The node itself, or what it is an alias of."""
        return self.target or self

    @property
    def text(self) -> str:
        """What a scalar says; empty for a null: nothing, `~`, `null`, or empty quotes."""
        return "" if not self.style and self.value in NULLS else self.value


class Entry(NamedTuple):
    """One key of a mapping; complex: written with `?`."""

    key: Node
    value: Node
    is_complex: bool

    @property
    def name(self) -> str | None:
        """The text of the key, also behind an alias; None when it is none."""
        return self.key.resolved.value if self.key.resolved.kind == "scalar" else None

    @property
    def is_merge(self) -> bool:
        """`<<`, which brings in what other mappings have."""
        return self.key.kind == "scalar" and self.key.value == "<<" and not self.key.style


@dataclass
class YamlFile:
    """One file. name: what messages call it. events: all that each says but where."""

    name: str
    bom: str = ""  # the byte order mark, which `text` is without
    text: str = ""
    events: list[tuple[object, ...]] = field(default_factory=list)
    documents: list[Node] = field(default_factory=list)

    def positions(self, *places: int) -> str:
        """Line and column of the characters, as editors count them: `3:1 and 4:1`."""
        return " and ".join("{}:{}".format(*self._position(place)) for place in places)

    def refusal(self, text: str, status: str, at: int | None = None) -> Refused:
        """A refusal about the character `at`, in one line that a terminal does not obey."""
        text = UNSHOWN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
        where: dict[str, Any] = {"file": self.name} if self.name else {}
        if at is not None:
            where["line"], where["column"] = self._position(at)
        place = ":".join(map(str, where.values()))
        return Refused(f"{place}: {text}" if place else text, status=status, **where)

    def _position(self, at: int) -> tuple[int, int]:
        ends = [0, *(end.end() for end in LINE.finditer(self.text, 0, at))]
        return len(ends), at - ends[-1] + 1


def read(content: bytes, name: str = "") -> YamlFile:
    """The nodes of all documents; `unreadable` when a reader of YAML would stop, and where."""
    file = _decoded(content, name)
    try:
        reader = _Reader(file)
        while event := reader.next_event():
            if isinstance(event, yaml.NodeEvent):
                file.documents.append(reader.node(event))
        collections.deque(yaml.parse(file.text, Loader=yaml.CSafeLoader), maxlen=0)
    except (yaml.YAMLError, OverflowError, ValueError) as exc:
        problem, mark = str(exc), None
        if isinstance(exc, yaml.MarkedYAMLError):
            problem, mark = ", ".join(filter(None, (exc.context, exc.problem))), exc.problem_mark
        if re.search(r"^[^#\n\r\"']*\{\{", file.text, re.MULTILINE):
            problem += "; {{ }} looks like a Helm template: name the values file it reads"
        at = min(mark.index, len(file.text)) if mark else None
        raise file.refusal(f"not readable as YAML: {problem}", "unreadable", at) from exc
    return file


def _decoded(content: bytes, name: str) -> YamlFile:
    """The text of `content`, without nodes yet."""
    file = YamlFile(name)
    if len(content) > BYTES_MAX:
        text = f"{len(content)} bytes; a manifest above {BYTES_MAX} is not read"
        raise file.refusal(text, "unreadable")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise file.refusal("the file is UTF-16; only UTF-8 is read", "unreadable")
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        file.text = content[: exc.start].decode().removeprefix(BOM)
        problem = f"not UTF-8: byte {exc.start} is 0x{content[exc.start]:02x}"
        raise file.refusal(problem, "unreadable", len(file.text)) from exc
    file.bom, file.text = BOM if text.startswith(BOM) else "", text.removeprefix(BOM)
    for pattern, problem in UNREADABLE.items():
        if bad := pattern.search(file.text):
            text = f"the character U+{ord(bad[0]):04X} {problem}"
            raise file.refusal(text, "unreadable", bad.start())
    return file


class _Reader:
    """Events in, nodes out. gap: what is between the last two events, without comments."""

    def __init__(self, file: YamlFile) -> None:
        self.file = file
        self.parser = yaml.parse(file.text, Loader=yaml.SafeLoader)
        self.anchors: dict[str, Node] = {}
        self.gap, self.end = "", 0

    def next_event(self) -> Any:
        """The next event, noted in the file; None after the last."""
        event: Any = next(self.parser, None)
        if event is None:
            return None
        start = event.start_mark.index
        self.gap, self.end = COMMENT.sub("", self.file.text[self.end : start]), event.end_mark.index
        if isinstance(event, yaml.CollectionStartEvent):  # of a block, it ends behind its first `-`
            self.end = start
        if isinstance(event, yaml.DocumentStartEvent):
            self.anchors = {}
        says = (getattr(event, name, None) for name in SAID_BY_EVENTS)
        self.file.events.append((type(event), *says))
        return event

    def node(self, event: Any, in_flow: bool = False, depth: int = 0) -> Node:
        """The node that begins with `event`, with all that is inside of it."""
        start, tag = event.start_mark.index, getattr(event, "tag", None)
        number = len(self.file.events) - 1
        node = Node(start=start, event=number, in_flow=in_flow, anchor=event.anchor, tag=tag)
        if isinstance(event, yaml.AliasEvent):
            node.target = self.anchors.get(str(event.anchor))
            if node.target is None:
                text = f"not readable as YAML: the alias *{event.anchor} has no anchor before it"
                raise self.file.refusal(text, "unreadable", start)
            node.kind, node.anchor = "alias", None
            node.target.uses += 1
            return node
        if event.anchor:
            self.anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            self._fill_scalar(node, event)
        else:
            self._fill_collection(node, event, depth)
        return node

    def _fill_collection(self, node: Node, start: Any, depth: int) -> None:
        """All items or entries of `node` are in it."""
        if depth == DEPTH_MAX:
            text = f"nested deeper than {DEPTH_MAX} levels; no manifest is"
            raise self.file.refusal(text, "unreadable", node.start)
        if node.in_flow and self.file.text.startswith("{{", node.start - 1):
            text = "{{ }} outside quotes: a Helm template, not YAML; name the values file it reads"
            raise self.file.refusal(text, "unreadable", node.start - 1)
        inside = (node.in_flow or bool(start.flow_style), depth + 1)
        node.kind = "mapping" if isinstance(start, yaml.MappingStartEvent) else "sequence"
        while isinstance(event := self.next_event(), yaml.NodeEvent):
            if node.kind == "sequence":
                node.items.append(self.node(event, *inside))
                continue
            is_complex = "?" in self.gap
            key = self.node(event, *inside)
            event = self.next_event()
            has_colon = ":" in self.gap or self.file.text[self.end - 1] == ":"
            value = self.node(event, *inside)
            value.insertable = has_colon
            node.entries.append(Entry(key, value, is_complex))

    def _fill_scalar(self, node: Node, event: Any) -> None:
        text, start, end = self.file.text, node.start, event.end_mark.index
        if event.value or event.style:
            # no value starts with & or !, so what does is an anchor or a tag
            properties = PROPERTIES.match(text, start, end)
            start = properties.end() if properties else start
        else:
            start = end
        node.value, node.style = event.value, event.style or ""
        node.value_start, node.value_end = start, end
