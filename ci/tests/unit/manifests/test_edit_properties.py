"""The edit on YAML nobody wrote by hand: random documents in random formatting.

A document is made as a template with holes where the image's scalars go, so what must stay is known
without asking the code under test.
"""

import io
import itertools
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ci.errors import Refused, UsageError
from ci.manifests import current_image, key_path, set_image
from ci.manifests.edit import is_ambiguous
from ci.manifests.key_path import Item, Key, Named
from ci.model import ImageRef

HOLE = "\x00{}\x00"
REPOSITORY = "registry.example:5000/cloudopshub-das"
NOT_TEXTS = re.findall(
    r"\S+",
    """
    0123 007 0888 0o17 0x10 0b11 1_000 1.20 1e10 7e3 00e1 1234567 8.8 12e4567 0 41 1_0.5 0x_1f 1e3_0
    yes no on off y N True FALSE null NULL Null 2024-01-02 2024-1-2 1. 0. 0_ _0 __ _ 0o 0b 0X1F
    2024-01-02T10 1E5 0B1 0O7 inf nan Infinity 685230.15 190_20 0xp1 0x1p4
    """,
)
TAGS = st.sampled_from(NOT_TEXTS) | st.from_regex(
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True
)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
COMMENTS = st.sampled_from(["", "", "", " # tag: 1", "    # é 🚀 {{ x }}", "  ", " #"])
BETWEEN = st.lists(st.sampled_from(["", "  ", "# a comment", "   # tag: 2", "#"]), max_size=2)
KEYS = st.text(string.ascii_letters + "éж_", min_size=1, max_size=6).map(lambda name: f"k{name}")
BARE = [
    *("value", "12e4567", "0123", "~", "null", "True", "+1", "2001-12-14t21:59:43.10-05:00"),
    *("12:30:45", "a:b", "c#d", "é🚀", "two words", "", "'it''s'", '"\\u00e9\\n"', "''"),
    *('"tag: 1"', "!!str 41", "[]", "{}", "[a,b,{c: d}]", "{a: 1,b: [~]}", '{"tag":1}'),
    "[1, 'x', {y: z, image: no}]",
]


@dataclass(frozen=True)
class Slot:
    """One scalar of the image, as the file has it."""

    value: str
    quote: str  # ' or " or nothing
    in_flow: bool = False

    @property
    def text(self) -> str:
        return f"{self.quote}{self.value}{self.quote}"

    def ways(self, value: str) -> list[str]:
        """The texts that may stand there once it reads `value`."""
        if self.quote:
            return [f"{self.quote}{value}{self.quote}"]
        gap = "" if self.value else " "
        return [f"{gap}{value}", f'{gap}"{value}"']

    def comes_back(self, between: str) -> bool:
        """Whether the old bytes stand there again after `between` was written and taken back."""
        if self.quote:
            return True
        if not self.value or is_ambiguous(self.value) or is_ambiguous(between):
            return False
        return not (self.in_flow and ":" in between and ":" not in self.value)


@dataclass(frozen=True)
class Made:
    """A document: pieces around the slots, the key, and the image in it."""

    pieces: list[str]
    slots: list[Slot]
    roles: list[str]
    path: key_path.KeyPath
    image: ImageRef
    bom: str = ""

    @property
    def content(self) -> bytes:
        return (self.bom + self.filled([slot.text for slot in self.slots])).encode()

    @property
    def key(self) -> str:
        return key_path.written(self.path)

    def filled(self, texts: Sequence[str]) -> str:
        pairs = zip(self.pieces, [*texts, ""], strict=True)
        return "".join(part for pair in pairs for part in pair)

    def wanted(self, image: ImageRef) -> list[str]:
        """What each slot shall read."""
        has_digest = "digest" in self.roles
        values = {
            "repository": image.repository,
            "tag": image.tag if has_digest else image.pin,
            "digest": image.digest,
            "reference": str(image),
        }
        return [values[role] for role in self.roles]

    def scalars(self) -> list[key_path.KeyPath]:
        if self.roles == ["reference"]:
            return [self.path]
        return [(*self.path, Key(role)) for role in self.roles]


@st.composite
def filler(draw, depth=0):
    """A node that has nothing to do with the image: what follows its key, and the lines below."""
    kind = draw(st.sampled_from(["bare", "bare", "bare", "block", "lines", "map", "list"]))
    if kind == "block":
        header = draw(st.sampled_from(["|", ">-", "|+", "|2"]))
        return [header, "  tag: 1", "", "  # no comment"]
    if kind == "lines":
        several = [["plain", "  goes on"], ['"one', "", '  two"'], ["'a", "  b'"]]
        return draw(st.sampled_from(several))
    if depth >= 2 or kind == "bare":
        return [draw(st.sampled_from(BARE))]
    if kind == "map":
        names = draw(st.lists(KEYS, min_size=1, max_size=3, unique=True))
        return ["", *draw(mapping([(name, draw(filler(depth + 1))) for name in names]))]
    items = [draw(filler(depth + 1)) for _ in range(draw(st.integers(1, 3)))]
    return ["", *draw(sequence(items))]


@st.composite
def mapping(draw, entries, pad=None):
    """The lines of a block mapping, indented by one to five blanks unless `pad` says so."""
    pad = " " * draw(st.integers(1, 5)) if pad is None else pad
    lines = []
    for name, node in entries:
        lines += draw(BETWEEN)
        lines += draw(placed(f"{pad}{name}:", pad, node))
    return lines


@st.composite
def sequence(draw, items):
    """The lines of a block sequence; an item may start behind its dash or below it."""
    pad = " " * draw(st.integers(1, 4))
    lines = []
    for node in items:
        lines += draw(BETWEEN)
        first, *rest = node
        starts_below = rest and not first and re.match(" +[^ #]", rest[0])
        if starts_below and draw(st.booleans()):
            lines.append(f"{pad}-{rest[0]}")
            lines += [f"{pad} {line}" if line else line for line in rest[1:]]
        else:
            lines += draw(placed(f"{pad}-", pad, node))
    return lines


@st.composite
def placed(draw, head, pad, node):
    """`node` behind `head`: blanks between, a comment where one may stand."""
    first, *rest = node
    gap = " " * draw(st.integers(1, 4)) if first else ""
    comment = draw(COMMENTS) if not rest or not first else ""
    return [f"{head}{gap}{first}{comment}", *(f"{pad}{line}" if line else line for line in rest)]


@st.composite
def slot(draw, value, *, in_flow=False, nullable=False):
    """A scalar in some style, sometimes without a value."""
    if nullable and draw(st.integers(0, 4)) == 0:
        return Slot("", draw(st.sampled_from(["", "'", '"'])))
    return Slot(value, draw(st.sampled_from(["", "", "'", '"'])), in_flow)


@st.composite
def images(draw):
    """An image, its lines with holes, and what is in the holes by role."""
    image = ImageRef(REPOSITORY, draw(TAGS), draw(DIGESTS))
    style = draw(st.sampled_from(["mapping", "digest", "flow", "reference"]))
    if style == "reference":
        value = draw(st.sampled_from([image.repository, str(image)]))
        return image, [HOLE.format("reference")], {"reference": draw(slot(value))}
    in_flow = style == "flow"
    values = {
        "repository": image.repository,
        "tag": image.tag if style == "digest" else image.pin,
        "digest": image.digest,
    }
    roles = draw(st.permutations(list(values)[: 3 if style == "digest" else 2]))
    slots = {
        role: draw(slot(values[role], in_flow=in_flow, nullable=role == "tag" and not in_flow))
        for role in roles
    }
    if in_flow:
        space = draw(st.sampled_from(["", " ", "  "]))
        inside = f"{space}, {space}".join(f"{role}: {HOLE.format(role)}" for role in roles)
        return image, [f"{{{space}{inside}{space}}}"], slots
    entries = [(role, [HOLE.format(role)]) for role in roles]
    for extra in draw(st.lists(KEYS, max_size=2, unique=True)):
        entries.insert(draw(st.integers(0, len(entries))), (extra, draw(filler(1))))
    return image, ["", *draw(mapping(entries))], slots


@st.composite
def made(draw):
    """A whole document around one image."""
    image, node, slots = draw(images())
    path = ()
    for _ in range(draw(st.integers(0, 4))):
        others = [draw(filler(1)) for _ in range(draw(st.integers(0, 2)))]
        index = draw(st.integers(0, len(others)))
        if draw(st.booleans()):
            node = ["", *draw(sequence([*others[:index], node, *others[index:]]))]
            path = (Item(index), *path)
        else:
            entries = [(f"k{number}", other) for number, other in enumerate(others)]
            name = draw(st.sampled_from(["spec", '"a.b"', "'q q'", "ключ"]))
            entries.insert(index, (name, node))
            node = ["", *draw(mapping(entries))]
            path = (Key(name.strip("\"'")), *path)
    entries = [("image", node)]
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, 1)), ("anchored", ["&k {a: 1, tag: 2}"]))
        entries.append(("repeated", ["*k"]))
    body = draw(mapping(entries, pad=""))
    head = draw(st.sampled_from([[], ["---"], ["# first", "", "--- # start"]]))
    tail = draw(st.sampled_from([[], ["..."], ["# end"], ["", ""]]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join([*head, *body, *tail]) + draw(st.sampled_from([end, ""]))
    pieces = re.split("\x00[a-z]+\x00", text)
    roles = re.findall("\x00([a-z]+)\x00", text)
    for number, role in enumerate(roles):
        if not slots[role].text:  # the value goes right behind the colon, the blanks stay behind it
            kept = pieces[number].rstrip(" ")
            pieces[number + 1] = pieces[number][len(kept) :] + pieces[number + 1]
            pieces[number] = kept
    bom = draw(st.sampled_from(["", "", "\ufeff"]))
    return Made(pieces, [slots[role] for role in roles], roles, (Key("image"), *path), image, bom)


def as_yaml_1_1(text, path):
    """What PyYAML composes at `path`: tag and text."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return _walked(node, path)


def as_yaml_1_2(text, path):
    """What ruamel composes at `path`: tag and text."""
    return _walked(YAML(typ="safe", pure=True).compose(io.StringIO(text)), path)


def _walked(node, path):
    for step in path:
        if isinstance(step, Key):
            node = next(value for key, value in node.value if key.value == step.name)
        else:
            node = node.value[step.index]
    return str(node.tag).removeprefix("tag:yaml.org,2002:"), node.value


@given(made(), TAGS, DIGESTS)
def test_every_other_byte_stays(document, tag, digest):
    """Around the image's scalars each byte is what it was, and no byte came between."""
    image = ImageRef(REPOSITORY, tag, digest)
    edit = set_image(document.content, document.key, image)
    ways = [
        held.ways(value) for held, value in zip(document.slots, document.wanted(image), strict=True)
    ]
    allowed = {document.bom + document.filled(texts) for texts in itertools.product(*ways)}
    assert edit.content.decode() in allowed


@given(made(), TAGS, DIGESTS)
def test_every_reader_reads_the_text_that_was_meant(document, tag, digest):
    """Tags that look like numbers, booleans, dates stay texts, in YAML 1.1 and in YAML 1.2."""
    image = ImageRef(REPOSITORY, tag, digest)
    edit = set_image(document.content, document.key, image)
    text = edit.content.decode().removeprefix("\ufeff")
    for path, value in zip(document.scalars(), document.wanted(image), strict=True):
        assert as_yaml_1_1(text, path) == ("str", value)
        assert as_yaml_1_2(text, path) == ("str", value)
    assert str(current_image(edit.content, document.key)) == str(image)


@given(made(), TAGS, DIGESTS)
def test_the_same_edit_again_finds_nothing_to_do(document, tag, digest):
    """A second run changes no byte and says so."""
    image = ImageRef(REPOSITORY, tag, digest)
    edit = set_image(document.content, document.key, image)
    again = set_image(edit.content, document.key, image)
    assert again.content == edit.content
    assert again.changes == ()


@given(made(), TAGS, DIGESTS)
def test_an_edit_taken_back_restores_the_bytes(document, tag, digest):
    """Exactly when each scalar that changed was quoted, or bare and never in need of quotes.

    A bare `tag: 41` comes back as `"41"`, and stays quoted once a tag had to be; an empty one has
    no image to go back to.
    """
    image = ImageRef(REPOSITORY, tag, digest)
    edit = set_image(document.content, document.key, image)
    back = set_image(edit.content, document.key, document.image)
    changed = {change.key for change in edit.changes}
    restored = all(
        held.comes_back(between) and held.value == old
        for path, held, between, old in zip(
            document.scalars(),
            document.slots,
            document.wanted(image),
            document.wanted(document.image),
            strict=True,
        )
        if key_path.written(path) in changed
    )
    assert (back.content == document.content) == restored


@given(made(), st.integers(0, 10_000), st.text(max_size=3))
def test_a_damaged_file_is_edited_whole_or_refused(document, at, inserted):
    """Whatever is thrown into a document: an edit that proves itself, or a refusal with a word."""
    text = document.content.decode()
    at %= len(text) + 1
    damaged = (text[:at] + inserted + text[at:]).encode()
    image = ImageRef(REPOSITORY, "41", document.image.digest)
    edit = or_refusal(set_image, damaged, document.key, image)
    if edit is not None:
        assert set_image(edit.content, document.key, image).content == edit.content


@given(st.binary(max_size=200) | st.text(alphabet="ab:-?&*!|>'\"%@`{}[],# \n\t\r<=~", max_size=60))
@settings(max_examples=300)
def test_no_bytes_break_the_reader(content):
    """Any bytes are read or refused, never more."""
    content = content if isinstance(content, bytes) else content.encode()
    for key in ("a", "[0]", "a[b=a].b"):
        or_refusal(current_image, content, key)
        or_refusal(set_image, content, key, ImageRef("a", "b"))


def or_refusal(function, *arguments):
    """What `function` gives; None when it refuses with a word of its own."""
    try:
        return function(*arguments)
    except Refused as error:
        refusal = error
    assert refusal.status != "refused"
    return None


@given(
    st.lists(st.builds(Key, st.text(min_size=1)) | st.builds(Item, st.integers(0, 99)), min_size=1)
)
def test_a_key_path_reads_back_as_written(path):
    """What `written` prints, `parse` reads; a path that cannot be printed is a usage error."""
    text = key_path.written(tuple(path))
    try:
        assert key_path.parse(text) == tuple(path)
    except UsageError:
        assert key_path.UNSHOWN.search(text)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_named_item_reads_back_as_written(name, value):
    """As above, for `[name=value]`."""
    text = key_path.written((Named(name, value),))
    try:
        assert key_path.parse(text) == (Named(name, value),)
    except UsageError:
        assert key_path.UNSHOWN.search(text)


@pytest.mark.parametrize("tag", NOT_TEXTS)
@pytest.mark.parametrize(
    "template", ["image:\n  tag: {}\n", "{{image: {{tag: {}}}}}", "image: {{tag: {}, a: b}}"]
)
def test_a_tag_that_looks_like_something_else_stays_a_text(tag, template):
    """Each of these, written bare, is no text to some reader; so it is never left bare."""
    before = template.format("x").encode()
    after = set_image(before, "image.tag", ImageRef("das", tag)).content
    assert after == template.format(f'"{tag}"').encode()
