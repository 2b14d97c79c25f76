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
    return _Reader(text).path()


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


class _Reader:
    """One walk over the text of a path."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def path(self) -> KeyPath:
        if bad := UNSHOWN.search(self.text):
            self.at = bad.start()
            self.stop(f"U+{ord(bad.group()):04X} cannot stand in a key")
        steps: list[Step] = [self.item() if self.sees("[") else self.key()]
        while self.at < len(self.text):
            if self.sees("["):
                steps.append(self.item())
            elif self.sees("."):
                self.at += 1
                steps.append(self.key())
            else:
                self.stop('"." or "[" was expected')
        return tuple(steps)

    def key(self) -> Key:
        return Key(self.word(".", "a key"))

    def item(self) -> Step:
        opened = self.at
        self.at += 1
        if number := re.compile(r"\s*(-?)([0-9]+)\s*\]").match(self.text, self.at):
            if number[1]:
                self.stop("items are counted from 0; from the end there is no counting")
            if len(number[2]) > INDEX_DIGITS_MAX:
                self.stop("no list is that long")
            self.at = number.end()
            return Item(int(number[2]))
        name = self.word("=", "a number or name=value")
        if not self.sees("="):
            self.stop("a list item is [number] or [name=value]")
        self.at += 1
        value = self.word("", "a value")
        if not self.sees("]"):
            self.stop(f'"]" was expected, for the "[" at character {opened + 1}')
        self.at += 1
        return Named(name, value)

    def word(self, ends: str, wanted: str) -> str:
        """One bare or quoted word; bare ones also end at any of `ends`."""
        start = self.at
        if self.sees('"') or self.sees("'"):
            return self.quoted()
        found = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\":
                found.append(self.escaped())
                continue
            if char in "[]" or char in ends:
                break
            if char in "\"'":
                self.stop("a quote inside a bare key; quote the whole key, or put a backslash")
            found.append(char)
            self.at += 1
        raw = self.text[start : self.at]
        if not found:
            self.stop(f"{wanted} was expected")
        if raw != raw.strip():
            self.stop("a blank at the end of a bare key; quote the key")
        return "".join(found)

    def quoted(self) -> str:
        opened, quote = self.at, self.text[self.at]
        self.at += 1
        found: list[str] = []
        while not self.sees(quote):
            if self.at >= len(self.text):
                self.at = opened
                self.stop("a quote is opened and never closed")
            if self.sees("\\"):
                found.append(self.escaped())
                continue
            found.append(self.text[self.at])
            self.at += 1
        self.at += 1
        return "".join(found)

    def escaped(self) -> str:
        if self.at + 1 >= len(self.text):
            self.stop("a backslash with nothing behind it")
        self.at += 2
        return self.text[self.at - 1]

    def sees(self, char: str) -> bool:
        return self.text.startswith(char, self.at)

    def stop(self, why: str) -> NoReturn:
        raise UsageError(
            f'key "{shown(self.text)}", character {self.at + 1}: {why}',
            key=shown(self.text),
            character=self.at + 1,
        )
