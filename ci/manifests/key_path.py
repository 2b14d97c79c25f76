r"""Which place of a file is meant: `image`, `das.image.tag`, `spec.containers[name=web].image`.

    path   := step (("." key) | item)*          step := key | item
    key    := bare | quoted                     image   "a.b"   'a b'   a\.b
    item   := "[" number "]"                    [0]     the first of a list
            | "[" key "=" value "]"             [name=web]   the one item whose key says so

A bare key of digits counts in a list and is a name in a mapping: `containers.0.image`. A bare key
takes any character but `. [ ] " '`, blanks at its ends and control characters; a backslash makes
any of them, and itself, plain. In quotes, a backslash does the same. Inside `[ ]` a dot is plain:
`images[name=registry.example/das]`.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from ci.errors import UsageError
from ci.manifests.refusals import UNSHOWN, shown

SPECIAL = re.compile(r"[\\.\[\]\"'=]|^\s|\s$")
BARE = {stop: re.compile(rf"""(?s:\\.|[^\\\[\]"'{stop}])+""") for stop in (".", "=", "")}
QUOTED = re.compile(r"""(?s)"(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*'""")
ESCAPED = re.compile(r"(?s)\\(.)")
NUMBER = re.compile(r"\s*(-?)([0-9]+)\s*\]")
INDEX_DIGITS_MAX = 9


@dataclass(frozen=True)
class Key:
    """The value under a key; in a list, its item when the name is a number."""

    name: str

    def __str__(self) -> str:
        return _quoted(self.name)

    @property
    def index(self) -> int | None:
        """The number the name is; None when it is none."""
        short = len(self.name) <= INDEX_DIGITS_MAX
        return int(self.name) if short and re.fullmatch("[0-9]+", self.name) else None


@dataclass(frozen=True)
class Item:
    """One item of a list, counted from 0."""

    index: int

    def __str__(self) -> str:
        return f"[{self.index}]"


@dataclass(frozen=True)
class Named:
    """The one item of a list which has `value` under `key`."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"[{_quoted(self.key, plain='.')}={_quoted(self.value, plain='.')}]"


Step = Key | Item | Named
KeyPath = tuple[Step, ...]


def parse(text: str) -> KeyPath:
    """The steps `text` names; `UsageError` says at which character it stops making sense."""
    if bad := UNSHOWN.search(text):
        _stop(text, bad.start(), f"U+{ord(bad[0]):04X} cannot stand in a key")
    steps: list[Step] = []
    at = 0
    while at < len(text) or not steps:
        if text.startswith("[", at):
            step, at = _item(text, at)
            steps.append(step)
            continue
        if steps and text[at] != ".":
            _stop(text, at, '"." or "[" was expected')
        name, at = _word(text, at + bool(steps), ".", "a key")
        steps.append(Key(name))
    return tuple(steps)


def written(path: KeyPath) -> str:
    """The path as `parse` reads it."""
    return "".join(
        f".{step}" if number and isinstance(step, Key) else str(step)
        for number, step in enumerate(path)
    )


def _quoted(name: str, plain: str = "") -> str:
    if name and not SPECIAL.search(name.replace(plain, "") if plain else name):
        return name
    inside = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def _item(text: str, at: int) -> tuple[Step, int]:
    """The step between the brackets that open at `at`, and where the text goes on."""
    if number := NUMBER.match(text, at + 1):
        if number[1]:
            _stop(text, at + 1, "items are counted from 0; from the end there is no counting")
        if len(number[2]) > INDEX_DIGITS_MAX:
            _stop(text, at + 1, "no list is that long")
        return Item(int(number[2])), number.end()
    name, end = _word(text, at + 1, "=", "a number or name=value")
    if not text.startswith("=", end):
        _stop(text, end, "a list item is [number] or [name=value]")
    value, end = _word(text, end + 1, "", "a value")
    if not text.startswith("]", end):
        _stop(text, end, f'"]" was expected, for the "[" at character {at + 1}')
    return Named(name, value), end + 1


def _word(text: str, at: int, stop: str, wanted: str) -> tuple[str, int]:
    """One bare or quoted word from `at` on, and where it ends; a bare one also ends at `stop`."""
    if text.startswith(('"', "'"), at):
        if not (quoted := QUOTED.match(text, at)):
            _stop(text, at, "a quote is opened and never closed")
        return ESCAPED.sub(r"\1", quoted[0][1:-1]), quoted.end()
    bare = BARE[stop].match(text, at)
    raw, end = (bare[0], bare.end()) if bare else ("", at)
    if text.startswith("\\", end):
        _stop(text, end, "a backslash with nothing behind it")
    if not raw:
        _stop(text, at, f"{wanted} was expected")
    if text.startswith(('"', "'"), end):
        _stop(text, end, "a quote inside a bare key; quote the whole key, or put a backslash")
    if raw != raw.strip():
        _stop(text, end, "a blank at the end of a bare key; quote the key")
    return ESCAPED.sub(r"\1", raw), end


def _stop(text: str, at: int, why: str) -> NoReturn:
    name = shown(text)
    raise UsageError(f'key "{name}", character {at + 1}: {why}', key=name, character=at + 1)
