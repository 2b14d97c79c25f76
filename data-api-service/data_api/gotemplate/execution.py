"""A template and its data → text, with Go's words for what fails, in bounded steps and characters.

`_at` follows the part that Go would name in an error. Source: Go's `text/template/exec.go`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from data_api.chassis.kinds import ServiceError
from data_api.gotemplate import nodes
from data_api.gotemplate.errors import CallFailed, TemplateFailed, TemplateTooLarge
from data_api.gotemplate.formatting import OUTPUT_CHARS_MAX, Writer, go_type, quote
from data_api.gotemplate.values import Allowance, Function, StringMap, truth

STEPS_MAX = 50_000
DEPTH_MAX = 60  # bodies, calls and parentheses inside one another while a template runs
_STEP_CHARS = 64  # of text that is written, or that a function reads or makes, cost one step more


class _Leave(Exception):
    """`break` or `continue` reached its loop."""

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword


NOTHING: Final = object()
"""No last value: a command that starts a pipeline."""


class Given(NamedTuple):
    """What a call is given: operands, evaluated with `dot`, and the value before the pipe."""

    dot: object
    operands: Sequence[nodes.Operand] = ()
    final: object = NOTHING

    @property
    def number(self) -> int:
        """How many arguments they are."""
        return len(self.operands) + (self.final is not NOTHING)


class Execution:
    """One run of one template."""

    def __init__(  # noqa: PLR0917 - all that a run depends on
        self,
        template: nodes.Template,
        functions: Mapping[str, Function],
        members: Mapping[type, Mapping[str, Function]],
        definitions: Mapping[str, nodes.Definition],
        chars_max: int = OUTPUT_CHARS_MAX,
        allowance: Allowance | None = None,
    ) -> None:
        self._functions = {**functions, "tmpl": Function(self._tmpl, ("string", "any"))}
        self._members = members
        self._definitions = {**definitions, **template.definitions}
        self._allowance = allowance or Allowance(STEPS_MAX, chars_max)
        self._chars_max = min(chars_max, self._allowance.chars)
        self._writer = Writer(self._chars_max)
        self._steps_left = min(STEPS_MAX, self._allowance.steps)
        self._depth = 0
        self._name, self._definition = template.name, template.main
        self._variables: list[tuple[str, object]] = []
        self._at: nodes.Part | None = None

    def run(self, data: object) -> str:
        """All that the template writes for `data`."""
        begun_with, writer = self._steps_left, self._writer
        try:
            self._call_definition(self._name, self._definition, data)
        finally:
            self._allowance.steps -= begun_with - self._steps_left
            self._allowance.chars -= self._chars_max - writer.left
        return writer.text()

    def _failed(self, reason: str) -> TemplateFailed:
        return TemplateFailed(reason=f"{self._where()}{reason}")

    def _where(self) -> str:
        text = self._definition.text[: self._at.at if self._at else 0]
        line_start = text.rfind("\n") + 1
        line, column = 1 + text.count("\n"), len(text[line_start:].encode(errors="replace"))
        return (
            f"template: {self._definition.file}:{line}:{column}: "
            f"executing {quote(self._name)} at <{self._at}>: "
        )

    def _step(self, chars: int = 0) -> None:
        self._steps_left -= 1 + chars // _STEP_CHARS
        if self._steps_left < 0:
            reason = f"{self._where()}more than {STEPS_MAX} steps, or of all texts of its rule"
            raise TemplateTooLarge(reason=reason)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._failed(f"exceeded maximum template depth ({DEPTH_MAX})")

    def _call_definition(self, name: str, definition: nodes.Definition, data: object) -> None:
        around = self._name, self._definition, self._variables
        self._name, self._definition, self._variables = name, definition, [("$", data)]
        self._body(definition.body, data)
        self._name, self._definition, self._variables = around

    def _tmpl(self, name: str, data: object) -> str:
        if name not in self._definitions:
            raise CallFailed(f"template {quote(name)} not defined")
        outer, self._writer = self._writer, Writer(self._chars_max)
        self._call_definition(name, self._definitions[name], data)
        text, self._writer = self._writer.text(), outer
        return text

    def _body(self, body: nodes.Body, dot: object) -> None:
        self._deeper()
        for node in body:
            self._step()
            match node:
                case nodes.Text():
                    self._step(len(node.text))
                    self._writer.add(node.text)
                case nodes.Action():
                    value = self._pipeline(node.pipeline, dot)
                    self._at = node
                    if not node.pipeline.variables:
                        self._print(value)
                case nodes.Block(keyword="range"):
                    self._range(node, dot)
                case nodes.Block():
                    self._if_or_with(node, dot)
                case nodes.Invocation():
                    self._invoke(node, dot)
                case nodes.Leave():
                    raise _Leave(node.keyword)
        self._depth -= 1

    def _print(self, value: object) -> None:
        left = self._writer.left
        if value is None:
            self._writer.add("<no value>")
        else:
            self._writer.value(value)
        self._step(left - self._writer.left)

    def _if_or_with(self, node: nodes.Block, dot: object) -> None:
        mark = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        if truth(value):
            self._body(node.body, value if node.keyword == "with" else dot)
        else:
            self._body(node.otherwise, dot)
        del self._variables[mark:]

    def _range(self, node: nodes.Block, dot: object) -> None:
        outer = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        mark, depth = len(self._variables), self._depth
        items, names = self._items(value), node.pipeline.variables
        if len(names) > 1 and isinstance(value, int):
            raise self._failed(f"can't use {value} to iterate over more than one variable")
        for index, item in items:
            self._step()
            # One variable is the element, of two the first is the index; of a number the index.
            pairs = zip(names, (index, item) if len(names) > 1 else (item,), strict=False)
            for offset, (name, one) in enumerate(pairs):
                if node.pipeline.assigns:
                    self._assign(name, one)
                else:
                    self._variables[mark - len(names) + offset] = (name, one)
            try:
                self._body(node.body, item)
            except _Leave as leave:
                self._depth = depth
                if leave.keyword == "break":
                    break
            finally:
                del self._variables[mark:]
        if not items:
            self._body(node.otherwise, dot)
        del self._variables[outer:]

    def _items(self, value: object) -> Sequence[tuple[object, object]]:
        match value:
            case None:
                return ()
            case dict():
                return sorted(value.items(), key=lambda item: str(item[0]))
            case list() | tuple():
                return list(enumerate(value))
            case int() if not isinstance(value, bool):
                self._step(max(value, 0) * _STEP_CHARS)
                return [(index, index) for index in range(value)]
        writer = Writer(1000)
        writer.value(value)
        raise self._failed(f"range can't iterate over {writer.text()}")

    def _invoke(self, node: nodes.Invocation, dot: object) -> None:
        self._at = node
        definition = self._definitions.get(node.name)
        if definition is None:
            raise self._failed(f"template {quote(node.name)} not defined")
        data = self._pipeline(node.pipeline, dot) if node.pipeline else None
        self._call_definition(node.name, definition, data)

    def _pipeline(self, pipeline: nodes.Pipeline, dot: object) -> object:
        self._at = pipeline
        self._deeper()
        value: object = NOTHING
        for command in pipeline.commands:
            value = self._command(command, dot, value)
        for name in pipeline.variables:
            if pipeline.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        self._depth -= 1
        return value

    def _assign(self, name: str, value: object) -> None:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return
        raise self._failed(f"undefined variable: {name}")

    def _command(self, command: nodes.Command, dot: object, final: object) -> object:
        self._step()
        first, given = command.operands[0], Given(dot, command.operands[1:], final)
        match first:
            case nodes.Path() if first.names:
                return self._path(first, given)
            case nodes.Word() if first.name not in {".", "nil"}:
                self._at = first
                return self._call(first.name, self._functions[first.name], command, given)
        if not isinstance(first, nodes.Pipeline):
            self._at = first
        if given.number:
            raise self._failed(f"can't give argument to non-function {first}")
        if isinstance(first, nodes.Word) and first.name == "nil":
            raise self._failed("nil is not a command")
        return self._operand(first, dot)

    def _operand(self, operand: nodes.Operand, dot: object) -> object:
        match operand:
            case nodes.Literal():
                self._at = operand
                return operand.value
            case nodes.Pipeline():
                return self._pipeline(operand, dot)
            case nodes.Path():
                return self._path(operand, Given(dot))
            case nodes.Word(name="nil"):
                return None
            case nodes.Word(name="."):
                return dot
        self._at = operand
        return self._call(operand.name, self._functions[operand.name], operand, Given(dot))

    def _path(self, path: nodes.Path, given: Given) -> object:
        self._at = path
        if path.start == ".":
            value = given.dot
        elif isinstance(path.start, str):
            value = self._variable(path.start)
        else:
            value = self._operand(path.start, given.dot)
        from_map = False
        for index, name in enumerate(path.names, 1):
            if value is None:
                if from_map:
                    raise self._failed(f"nil pointer evaluating interface {{}}.{name}")
                continue
            from_map = isinstance(value, dict)
            is_last = index == len(path.names)
            value = self._member(value, name, path, given if is_last else Given(given.dot))
        return value

    def _variable(self, name: str) -> object:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise self._failed(f"undefined variable: {name}")

    def _member(self, value: object, name: str, path: nodes.Path, given: Given) -> object:
        if (member := self._members.get(type(value), {}).get(name)) is not None:
            return self._call(name, replace(member, call=partial(member.call, value)), path, given)
        if isinstance(value, dict):
            if given.number:
                raise self._failed(f"{name} is not a method but has arguments")
            return value.get(name, "" if isinstance(value, StringMap) else None)
        raise self._failed(f"can't evaluate field {name} in type {go_type(value)}")

    def _call(self, name: str, function: Function, caller: nodes.Part, given: Given) -> object:
        takes, count = function.takes, given.number
        if function.variadic and count < len(takes) - 1:
            wanted = f"at least {len(takes) - 1}"
            raise self._failed(f"wrong number of args for {name}: want {wanted} got {count}")
        if not function.variadic and count != len(takes):
            raise self._failed(f"wrong number of args for {name}: want {len(takes)} got {count}")
        if function.call is truth:
            return self._and_or(name, given)
        values = [
            self._argument(operand, takes[min(index, len(takes) - 1)], given.dot)
            for index, operand in enumerate(given.operands)
        ]
        if given.final is not NOTHING:
            values.append(self._checked(given.final, takes[min(count, len(takes)) - 1]))
        self._step(sum(len(one) for one in values if isinstance(one, str | list)))
        try:
            result = function.call(*((self._step, *values) if function.spends else values))
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - as Go recovers from a function's panic
            self._at = caller
            raise self._failed(f"error calling {name}: {error}") from None
        self._step(len(result) if isinstance(result, str | list) else 0)
        return result

    def _and_or(self, name: str, given: Given) -> object:
        value: object = None
        for operand in given.operands:
            value = self._argument(operand, "any", given.dot)
            if truth(value) == (name == "or"):
                return value
        return value if given.final is NOTHING else given.final

    def _argument(self, operand: nodes.Operand, wanted: str, dot: object) -> object:
        self._at = operand
        if isinstance(operand, nodes.Word) and operand.name == "nil":
            if wanted != "any":
                raise self._failed(f"cannot assign nil to {wanted}")
            return None
        if isinstance(operand, nodes.Literal) and wanted not in {"any", go_type(operand.value)}:
            raise self._failed(f"expected {wanted}; found {operand}")
        return self._checked(self._operand(operand, dot), wanted)

    def _checked(self, value: object, wanted: str) -> object:
        if wanted == "any" or go_type(value) == wanted or (wanted == "[]string" and value == []):
            return value
        if value is None:
            raise self._failed(f"invalid value; expected {wanted}")
        raise self._failed(f"wrong type for value; expected {wanted}; got {go_type(value)}")
