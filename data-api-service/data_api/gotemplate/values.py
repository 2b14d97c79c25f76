"""What templates call and truth: Go's, of Python's values."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


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


def truth(value: object) -> bool:
    """Go's truth: not the zero of its type; a structure is always true."""
    if isinstance(value, bool | int | float | str | list | tuple | dict):
        return bool(value)
    return value != timedelta() if isinstance(value, timedelta) else value is not None
