"""What a template is made of. `at`, `end`: the characters of its text, which messages quote."""

from typing import NamedTuple, TypeAlias


class Literal(NamedTuple):
    """A string, a number, `true`, `false` or `nil`."""

    value: str | float | bool | None


class Word(NamedTuple):
    """The name of a function."""

    name: str


class Path(NamedTuple):
    """`.A.B`, `$x.A`, `(pipeline).A`: names after what they start from.

    start: `.`, the variable's name, or the part in parentheses.
    """

    start: "str | Pipeline"
    names: tuple[str, ...]


class Command(NamedTuple):
    """A function, a method or a value, and its arguments."""

    at: int
    end: int
    operands: tuple["Operand", ...]


class Pipeline(NamedTuple):
    """`$a, $b := command | command`; assigns: `=` instead of `:=`."""

    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]


Operand: TypeAlias = Literal | Word | Path


class Text(NamedTuple):
    """Text as it is."""

    text: str


class Action(NamedTuple):
    """A pipeline whose value is printed unless it declares or assigns."""

    pipeline: Pipeline


class Block(NamedTuple):
    """`if`, `with` or `range` with its two bodies."""

    keyword: str
    pipeline: Pipeline
    body: "Body"
    otherwise: "Body"


class Invocation(NamedTuple):
    """`template "name" pipeline`."""

    at: int
    end: int
    name: str
    pipeline: Pipeline | None


class Leave(NamedTuple):
    """`break` or `continue`."""

    keyword: str


Node: TypeAlias = Text | Action | Block | Invocation | Leave
Body: TypeAlias = tuple[Node, ...]


class Definition(NamedTuple):
    """One named template. text: all that it was parsed with, for lines and columns."""

    file: str
    text: str
    body: Body


class Template(NamedTuple):
    """A parsed text: what it writes itself, and what it defines for `template`."""

    name: str
    main: Definition
    definitions: dict[str, Definition]
