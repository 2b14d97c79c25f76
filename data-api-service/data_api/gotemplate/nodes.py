"""What a template is made of.

Places are characters of its text; `str` of a part is how Go's messages write it.
"""

from dataclasses import dataclass
from typing import TypeAlias

from data_api.gotemplate.formatting import quote


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a number, `true`, `false`; written: as in the text."""

    at: int
    written: str
    value: str | float | bool

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True, slots=True)
class Word:
    """`.`, `nil`, or the name of a function."""

    at: int
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Path:
    """`.A.B`, `$x.A`, `(pipeline).A`: names after what they start from.

    start: `.`, the variable's name, or the part in parentheses.
    """

    at: int
    start: "str | Operand"
    names: tuple[str, ...]

    def __str__(self) -> str:
        start = self.start if isinstance(self.start, str) else f"({self.start})"
        return ("" if start == "." else start) + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`$a, $b := command | command`; assigns: `=` instead of `:=`."""

    at: int
    variables: tuple[str, ...]
    assigns: bool
    commands: tuple["Command", ...]

    def __str__(self) -> str:
        written = " | ".join(str(command) for command in self.commands)
        if not self.variables:
            return written
        return f"{', '.join(self.variables)} {'=' if self.assigns else ':='} {written}"


Operand: TypeAlias = Literal | Word | Path | Pipeline


@dataclass(frozen=True, slots=True)
class Command:
    """A function, a method or a value, and its arguments."""

    at: int
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(
            f"({one})" if isinstance(one, Pipeline) else str(one) for one in self.operands
        )


@dataclass(frozen=True, slots=True)
class Text:
    """Text as it is."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed unless it declares or assigns."""

    at: int
    pipeline: Pipeline

    def __str__(self) -> str:
        return f"{{{{{self.pipeline}}}}}"


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` or `range` with its two bodies."""

    at: int
    keyword: str
    pipeline: Pipeline
    body: "Body"
    otherwise: "Body"


@dataclass(frozen=True, slots=True)
class Invocation:
    """`template "name" pipeline`."""

    at: int
    name: str
    pipeline: Pipeline | None

    def __str__(self) -> str:
        argument = f" {self.pipeline}" if self.pipeline else ""
        return f"{{{{template {quote(self.name)}{argument}}}}}"


@dataclass(frozen=True, slots=True)
class Leave:
    """`break` or `continue`."""

    at: int
    keyword: str


Node: TypeAlias = Text | Action | Block | Invocation | Leave
Body: TypeAlias = tuple[Node, ...]
Part: TypeAlias = Node | Operand | Command


@dataclass(frozen=True, slots=True)
class Definition:
    """One named template. text: all that it was parsed with, for lines and columns."""

    file: str
    text: str
    body: Body


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: what it writes itself, and what it defines for `template`."""

    name: str
    main: Definition
    definitions: dict[str, Definition]
