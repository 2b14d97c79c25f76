"""What templates call and see of Python's values, by Go's names.

Go's types are Python's: bool, int, float64 → float, string → str, nil → None, slices → list,
maps → dict, structures → named tuples, time.Time → datetime, time.Duration → timedelta; others
name theirs in `go_type`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

_GO_TYPES = {
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    type(None): "<nil>",
    dict: "map[string]interface {}",
    datetime: "time.Time",
    timedelta: "time.Duration",
}


@dataclass(frozen=True, slots=True)
class Function:
    """What a template may call. takes: Go's names of the parameters' types, `any` for all.

    variadic: the last of them may come any number of times. spends: `call` is given one argument
    more, the first: what it calls with the characters' worth of work that it is about to do.
    """

    call: Callable[..., object]
    takes: tuple[str, ...] = ()
    variadic: bool = False
    spends: bool = False


@dataclass(slots=True)
class Allowance:
    """What several templates may do and write in all; each takes its own from it."""

    steps: int
    chars: int

    @property
    def is_spent(self) -> bool:
        """Whether no template can do anything any more."""
        return self.steps <= 0 or self.chars <= 0


class StringMap(dict[str, str]):
    """Go's map[string]string: what is not in it is empty text."""

    go_type = "map[string]string"


def go_type(value: object) -> str:
    """The name of a value's type in messages and of `%T`."""
    if (name := getattr(value, "go_type", None)) is not None:
        return str(name)
    if isinstance(value, list):
        texts = value and all(isinstance(one, str) for one in value)
        return "[]string" if texts else "[]interface {}"
    return _GO_TYPES.get(type(value), type(value).__name__)
