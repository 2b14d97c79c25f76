"""A template and its data → text, with Go's words for what fails, in bounded steps and characters.

`_at` follows the command that an error names. Source: Go's `text/template/exec.go`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from data_api.chassis.kinds import ServiceError
from data_api.gotemplate import nodes
from data_api.gotemplate.errors import CallFailed, TemplateFailed, TemplateTooLarge
from data_api.gotemplate.formatting import OUTPUT_CHARS_MAX, Writer, go_type, plain, quote
from data_api.gotemplate.values import Allowance, Function, StringMap, truth

STEPS_MAX = 50_000
DEPTH_MAX = 60  # bodies, calls and parentheses inside one another while a template runs
_STEP_CHARS = 64  # of text that is written, or that a function reads or makes, cost one step more


class _Leave(Exception):
    """`break` or `continue` reached its loop."""

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword


class Given(NamedTuple):
    """What a call is given: operands, evaluated with `dot`, and the value before the pipe."""

    command: nodes.Command
    dot: object
    operands: Sequence[nodes.Operand] = ()
    final: Sequence[object] = ()


class Execution:
    """One run of one template."""

    def __init__(
        self,
        template: nodes.Template,
        functions: Mapping[str, Function],
        members: Mapping[type, Mapping[str, Function]],
        definitions: Mapping[str, nodes.Definition],
        allowance: Allowance | None,
    ) -> None:
        self._functions = {**functions, "tmpl": Function(self._tmpl, ("string", "any"))}
        self._members = members
        self._definitions = {**definitions, **template.definitions}
        self._allowance = allowance or Allowance(STEPS_MAX, OUTPUT_CHARS_MAX)
        self._chars_max = min(OUTPUT_CHARS_MAX, self._allowance.chars)
        self._writer = Writer(self._chars_max)
        self._steps_left = min(STEPS_MAX, self._allowance.steps)
        self._depth = 0
        self._name, self._definition = template.name, template.main
        self._variables: list[tuple[str, object]] = []
        self._at: nodes.Command | nodes.Invocation | None = None

    def run(self, data: object) -> str:
        """All that the template writes for `data`."""
        begun_with, writer = self._steps_left, self._writer
        try:
            self._call_definition(self._name, self._definition, data)
        finally:
            self._allowance.steps -= begun_with - self._steps_left
            self._allowance.chars -= self._chars_max - writer.left
        return writer.text()

    def _where(self) -> str:
        text = self._definition.text
        at, end = (self._at.at, self._at.end) if self._at else (0, 0)
        line, column = 1 + text.count("\n", 0, at), at - text.rfind("\n", 0, at) - 1
        place = f"template: {self._definition.file}:{line}:{column}"
        return f"{place}: executing {quote(self._name)} at <{text[at:end]}>: "

    def _failed(self, reason: str) -> TemplateFailed:
        return TemplateFailed(reason=f"{self._where()}{reason}")

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
                    if not node.pipeline.variables:
                        self._print(value)
                case nodes.Block(keyword="range"):
                    self._range(node, dot)
                case nodes.Block():
                    self._if_or_with(node, dot)
                case nodes.Invocation():
                    data = self._pipeline(node.pipeline, dot) if node.pipeline else None
                    self._at = node
                    if (definition := self._definitions.get(node.name)) is None:
                        raise self._failed(f"template {quote(node.name)} not defined")
                    self._call_definition(node.name, definition, data)
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
        outer, depth = len(self._variables), self._depth
        items, names = self._items(self._pipeline(node.pipeline, dot)), node.pipeline.variables
        mark = len(self._variables)
        for index, item in items:
            self._step()
            # One variable is the element, of two the first is the index.
            for name, value in zip(names, (index, item)[-len(names) :], strict=False):
                self._assign(name, value)
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

    def _items(self, value: object) -> list[tuple[object, object]]:
        match value:
            case None:
                return []
            case dict():
                return sorted(value.items(), key=lambda item: str(item[0]))
            case list():
                return list(enumerate(value))
            case int() if not isinstance(value, bool):
                self._step(max(value, 0) * _STEP_CHARS)
                return [(index, index) for index in range(value)]
        raise self._failed(f"range can't iterate over {plain(value)[:1000]}")

    def _pipeline(self, pipeline: nodes.Pipeline, dot: object) -> object:
        self._deeper()
        final: list[object] = []
        for command in pipeline.commands:
            final = [self._command(command, dot, final)]
        for name in pipeline.variables:
            if pipeline.assigns:
                self._assign(name, final[0])
            else:
                self._variables.append((name, final[0]))
        self._depth -= 1
        return final[0]

    def _assign(self, name: str, value: object) -> None:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return
        raise self._failed(f"undefined variable: {name}")

    def _command(self, command: nodes.Command, dot: object, final: list[object]) -> object:
        """The command's value; final: what is piped into it, if anything."""
        self._step()
        self._at = command
        first, *operands = command.operands
        given = Given(command, dot, operands, final)
        if isinstance(first, nodes.Word):
            return self._call(first.name, self._functions[first.name], given)
        if isinstance(first, nodes.Path) and first.names:
            return self._path(first, given)
        if operands or final:
            shown = self._definition.text[command.at : command.end]
            raise self._failed(f"can't give argument to non-function {shown}")
        if first == nodes.Literal(None):
            raise self._failed("nil is not a command")
        return self._operand(first, given)

    def _operand(self, operand: nodes.Operand, of: Given) -> object:
        match operand:
            case nodes.Literal():
                return operand.value
            case nodes.Word():
                given = Given(of.command, of.dot)
                return self._call(operand.name, self._functions[operand.name], given)
        return self._path(operand, Given(of.command, of.dot))

    def _path(self, path: nodes.Path, given: Given) -> object:
        if isinstance(path.start, nodes.Pipeline):
            value = self._pipeline(path.start, given.dot)
            self._at = given.command
        elif path.start == ".":
            value = given.dot
        else:
            value = next(v for name, v in reversed(self._variables) if name == path.start)
        for index, name in enumerate(path.names, 1):
            is_last = index == len(path.names)
            value = self._member(value, name, given if is_last else Given(given.command, given.dot))
        return value

    def _member(self, value: object, name: str, given: Given) -> object:
        if value is None:
            raise self._failed(f"nil pointer evaluating interface {{}}.{name}")
        if (member := self._members.get(type(value), {}).get(name)) is not None:
            return self._call(name, replace(member, call=partial(member.call, value)), given)
        if not isinstance(value, dict):
            raise self._failed(f"can't evaluate field {name} in type {go_type(value)}")
        if given.operands or given.final:
            raise self._failed(f"{name} is not a method but has arguments")
        return value.get(name, "" if isinstance(value, StringMap) else None)

    def _call(self, name: str, function: Function, given: Given) -> object:
        takes, count = function.takes, len(given.operands) + len(given.final)
        least = len(takes) - function.variadic
        if count < least or (count > least and not function.variadic):
            wanted = f"at least {least}" if function.variadic else least
            raise self._failed(f"wrong number of args for {name}: want {wanted} got {count}")
        if function.call is truth:
            return self._and_or(name, given)
        values = [self._operand(one, given) for one in given.operands]
        values += given.final
        self._at = given.command
        for index, value in enumerate(values):
            wanted = takes[min(index, len(takes) - 1)]
            if wanted not in {"any", go_type(value)} and (wanted, value) != ("[]string", []):
                raise self._failed(f"wrong type for value; expected {wanted}; got {go_type(value)}")
        self._step(sum(len(one) for one in values if isinstance(one, str | list)))
        try:
            result = function.call(*((self._step, *values) if function.spends else values))
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - as Go recovers from a function's panic
            raise self._failed(f"error calling {name}: {error}") from None
        self._step(len(result) if isinstance(result, str | list) else 0)
        return result

    def _and_or(self, name: str, given: Given) -> object:
        """The first value that decides; what is behind it is not evaluated."""
        value: object = None
        for operand in given.operands:
            value = self._operand(operand, given)
            if truth(value) == (name == "or"):
                return value
        return given.final[0] if given.final else value
