"""One rendering of a template: what it has, and what it may still do, in bounded steps and
characters. Source: Go's `text/template/exec.go`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data_api.chassis.kinds import ServiceError
from data_api.gotemplate.errors import TemplateError, TemplateTooLarge
from data_api.gotemplate.formatting import OUTPUT_CHARS_MAX, Writer, plain, quote
from data_api.gotemplate.values import Allowance, Function, StringMap, go_type

STEPS_MAX = 50_000
DEPTH_MAX = 60  # bodies, calls and parentheses inside one another while a template runs
COMMAND_CHARS_MAX = 200  # of a command that an error quotes
_STEP_CHARS = 64  # of text that is written, or that a function reads or makes, cost one step more

Node = Callable[["Run", object], str | None]
"""What a part of a template does with the run and `.`: it writes, and says `break` or `continue`
where it leaves a loop.
"""
Arguments = Sequence[object]


class Template(NamedTuple):
    """A compiled text: what it writes itself, and what it defines for `template`."""

    main: Node
    definitions: dict[str, Node]


@dataclass(slots=True)
class Place:
    """A command for messages: the characters from `at` to `end` of a text.

    file, name: of the text, and of the template in it that the command belongs to.
    """

    file: str
    text: str
    name: str
    at: int
    end: int

    def __str__(self) -> str:
        line = 1 + self.text.count("\n", 0, self.at)
        column = self.at - self.text.rfind("\n", 0, self.at) - 1
        end = min(self.end, self.at + COMMAND_CHARS_MAX)
        command = self.text[self.at : end] + "…" * (end < self.end)
        return (
            f"template: {self.file}:{line}:{column}: executing {quote(self.name)} at <{command}>: "
        )

    def failed(self, reason: str) -> TemplateError:
        """The error of this command."""
        return TemplateError(reason=f"{self}{reason}")


class Run:
    """One rendering. variables: by the numbers that the compiler gave them; 0 is `$`.

    place: the command that runs; None before the first.
    """

    def __init__(
        self,
        template: Template,
        functions: Mapping[str, Function],
        methods: Mapping[type, Mapping[str, Function]],
        definitions: Mapping[str, Node],
        allowance: Allowance | None,
    ) -> None:
        self._main = template.main
        self.functions = {**functions, "tmpl": Function(self._tmpl, ("string", "any"))}
        self._methods = methods
        self._definitions = {**definitions, **template.definitions}
        self._allowance = allowance or Allowance(STEPS_MAX, OUTPUT_CHARS_MAX)
        self._chars_max = min(OUTPUT_CHARS_MAX, self._allowance.chars)
        self._writer = Writer(self._chars_max)
        self._steps_left = min(STEPS_MAX, self._allowance.steps)
        self.depth = 0
        self.variables: dict[int, object] = {}
        self.place: Place | None = None

    def text(self, data: object) -> str:
        """All that the template writes for `data`."""
        steps_before, writer = self._steps_left, self._writer
        try:
            self._write(self._main, data)
        finally:
            self._allowance.steps -= steps_before - self._steps_left
            self._allowance.chars -= self._chars_max - writer.left
        return writer.text()

    def spend(self, chars: int = 0) -> None:
        """One step is done, and one more for each _STEP_CHARS characters; or TemplateTooLarge."""
        self._steps_left -= 1 + chars // _STEP_CHARS
        if self._steps_left < 0:
            reason = f"{self.place or ''}more than {STEPS_MAX} steps, or of all texts of its rule"
            raise TemplateTooLarge(reason=reason)

    def enter(self) -> None:
        """One level deeper; who enters takes it from `depth` again."""
        self.depth += 1
        if self.depth > DEPTH_MAX:
            place = self.place or ""
            raise TemplateError(reason=f"{place}exceeded maximum template depth ({DEPTH_MAX})")

    def write(self, value: object) -> None:
        """The value is printed."""
        left = self._writer.left
        if value is None:
            self._writer.add("<no value>")
        else:
            self._writer.value(value)
        self.spend(left - self._writer.left)

    def invoke(self, name: str, data: object, place: Place) -> None:
        """What is defined by that name writes for `data`."""
        self.place = place
        if name not in self._definitions:
            raise place.failed(f"template {quote(name)} not defined")
        self._write(self._definitions[name], data)

    def _write(self, body: Node, data: object) -> None:
        around, self.variables = self.variables, {0: data}
        body(self, data)
        self.variables = around

    def _tmpl(self, name: str, data: object) -> str:
        assert self.place is not None, "a command calls it"
        outer, self._writer = self._writer, Writer(self._chars_max)
        self.invoke(name, data, self.place)
        text, self._writer = self._writer.text(), outer
        return text

    def items(self, value: object, place: Place) -> Sequence[tuple[object, object]]:
        """What `range` goes through, with index or key."""
        match value:
            case None:
                return ()
            case dict():
                return sorted(value.items(), key=lambda item: str(item[0]))
            case list():
                return list(enumerate(value))
            case int() if not isinstance(value, bool):
                self.spend(max(value, 0) * _STEP_CHARS)
                return [(index, index) for index in range(value)]
        raise place.failed(f"range can't iterate over {plain(value)[:1000]}")

    def member(self, value: object, name: str, arguments: Arguments, place: Place) -> object:
        """`.name` of a value: a method's answer, a structure's field, or what a map has there."""
        if value is None:
            raise place.failed(f"nil pointer evaluating interface {{}}.{name}")
        if (method := self._methods.get(type(value), {}).get(name)) is not None:
            return self.call(name, method, arguments, place, of=(value,))
        is_field = name in getattr(value, "_fields", ())
        if not is_field and not isinstance(value, dict):
            raise place.failed(f"can't evaluate field {name} in type {go_type(value)}")
        if arguments:
            raise place.failed(f"{name} is not a method but has arguments")
        if isinstance(value, dict):
            return value.get(name, "" if isinstance(value, StringMap) else None)
        return getattr(value, name)

    def call(
        self, name: str, function: Function, arguments: Arguments, place: Place, of: Arguments = ()
    ) -> object:
        """What the function answers; of: the value whose method it is."""
        takes, count = function.takes, len(arguments)
        least = len(takes) - function.variadic
        if count < least or (count > least and not function.variadic):
            wanted = f"at least {least}" if function.variadic else least
            raise place.failed(f"wrong number of args for {name}: want {wanted} got {count}")
        for index, value in enumerate(arguments):
            wanted = takes[min(index, len(takes) - 1)]
            if wanted not in {"any", go_type(value)} and (wanted, value) != ("[]string", []):
                raise place.failed(f"wrong type for value; expected {wanted}; got {go_type(value)}")
        self.place = place
        self.spend(sum(len(one) for one in arguments if isinstance(one, str | list)))
        spending = (self.spend,) if function.spends else ()
        try:
            result = function.call(*spending, *of, *arguments)
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - as Go recovers from a function's panic
            raise place.failed(f"error calling {name}: {error}") from None
        self.spend(len(result) if isinstance(result, str | list) else 0)
        return result
