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

from ci.errors import UsageError

UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
SPECIAL = re.compile(r"[\\.\[\]\"'=]|^\s|\s$")
ESCAPED = re.compile(r"(?s)\\(.)")
QUOTED = r"""(?:"(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*')"""
BARE = r"""(?!\s)(?:\\.|[^\\\[\]"'%s])+(?<!\s)"""
STEP = re.compile(
    rf"""(?s:
      \[\s*(?P<index>[0-9]{{1,9}})\s*\]
    | \[(?P<key>{QUOTED}|{BARE % "="})=(?P<value>{QUOTED}|{BARE % ""})\]
    | (?:^|(?!^)\.)(?P<name>{QUOTED}|{BARE % "."})
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Key:
    """The value under a key; in a list, its item when the name is a number."""

    name: str

    def __str__(self) -> str:
        return _quoted(self.name)

    @property
    def index(self) -> int | None:
        """The number the name is; None when it is none."""
        return int(self.name) if re.fullmatch("[0-9]{1,9}", self.name) else None


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
        raise _senseless(text, bad.start(), f"U+{ord(bad[0]):04X} cannot stand in a key")
    steps: list[Step] = []
    at = 0
    while at < len(text) or not steps:
        match = STEP.match(text, at)
        if match is None:
            raise _senseless(text, at, "a key, [number] or [name=value] was expected")
        index, key, value, name = match.groups()
        if index:
            steps.append(Item(int(index)))
        else:
            steps.append(Named(_plain(key), _plain(value)) if key else Key(_plain(name)))
        at = match.end()
    return tuple(steps)


def written(path: KeyPath) -> str:
    """The path as `parse` reads it."""
    text = "".join(f".{step}" if isinstance(step, Key) else str(step) for step in path)
    return text.removeprefix(".")


def _senseless(text: str, at: int, why: str) -> UsageError:
    return UsageError(f"key {text!r}, character {at + 1}: {why}", key=text, character=at + 1)


def _quoted(name: str, plain: str = "") -> str:
    if name and not SPECIAL.search(name.replace(plain, "") if plain else name):
        return name
    inside = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def _plain(word: str) -> str:
    """A bare or quoted word without quotes and backslashes."""
    return ESCAPED.sub(r"\1", word[1:-1] if word[0] in "\"'" else word)
