"""A template and its data → text, with Go's words for what fails, in bounded steps and characters.

`_at` follows the part that Go would name in an error. Source: Go's `text/template/exec.go`.
"""

from collections.abc import Mapping, Sequence

from data_api.gotemplate.errors import CallFailed, TemplateFailed, TemplateTooLarge
from data_api.gotemplate.formatting import OUTPUT_CHARS_MAX, Writer, go_type, quote
from data_api.gotemplate.nodes import (
    Action,
    Block,
    Body,
    Command,
    Definition,
    Invocation,
    Leave,
    Literal,
    Operand,
    Part,
    Path,
    Pipeline,
    Template,
    Text,
    Word,
)
from data_api.gotemplate.values import Function, StringMap, truth

STEPS_MAX = 50_000
DEPTH_MAX = 60  # bodies, calls and parentheses inside one another while a template runs
_STEP_CHARS = 64  # a function that reads or makes this much text has done one step


class _Leave(Exception):
    """`break` or `continue` reached its loop."""

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword


class _Nothing:
    """No last value: a command that starts a pipeline."""


_NOTHING = _Nothing()


class Execution:
    """One run of one template."""

    def __init__(
        self,
        template: Template,
        functions: Mapping[str, Function],
        members: Mapping[type, Mapping[str, Function]],
        definitions: Mapping[str, Definition],
        chars_max: int = OUTPUT_CHARS_MAX,
    ) -> None:
        self._functions = {**functions, "tmpl": Function(self._tmpl, ("string", "any"))}
        self._members = members
        self._definitions = {**definitions, **template.definitions}
        self._writer = Writer(chars_max)
        self._chars_max = chars_max
        self._steps_left = STEPS_MAX
        self._depth = 0
        self._name, self._definition = template.name, template.main
        self._variables: list[tuple[str, object]] = []
        self._at: Part | None = None

    def run(self, data: object) -> str:
        """All that the template writes for `data`."""
        self._call_definition(self._name, self._definition, data)
        return self._writer.text()

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
            raise TemplateTooLarge(reason=f"{self._where()}more than {STEPS_MAX} steps")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._failed(f"exceeded maximum template depth ({DEPTH_MAX})")

    def _call_definition(self, name: str, definition: Definition, data: object) -> None:
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

    def _body(self, body: Body, dot: object) -> None:
        self._deeper()
        for node in body:
            self._step()
            match node:
                case Text():
                    self._writer.add(node.text)
                case Action():
                    value = self._pipeline(node.pipeline, dot)
                    self._at = node
                    if not node.pipeline.variables:
                        self._print(value)
                case Block(keyword="range"):
                    self._range(node, dot)
                case Block():
                    self._if_or_with(node, dot)
                case Invocation():
                    self._invoke(node, dot)
                case Leave():
                    raise _Leave(node.keyword)
        self._depth -= 1

    def _print(self, value: object) -> None:
        if value is None:
            self._writer.add("<no value>")
        else:
            self._writer.value(value)

    def _if_or_with(self, node: Block, dot: object) -> None:
        mark = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        if truth(value):
            self._body(node.body, value if node.keyword == "with" else dot)
        else:
            self._body(node.otherwise, dot)
        del self._variables[mark:]

    def _range(self, node: Block, dot: object) -> None:
        outer = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        mark, depth = len(self._variables), self._depth
        items = self._items(value)
        names = node.pipeline.variables
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

    def _invoke(self, node: Invocation, dot: object) -> None:
        self._at = node
        definition = self._definitions.get(node.name)
        if definition is None:
            raise self._failed(f"template {quote(node.name)} not defined")
        data = self._pipeline(node.pipeline, dot) if node.pipeline else None
        self._call_definition(node.name, definition, data)

    def _pipeline(self, pipeline: Pipeline, dot: object) -> object:
        self._at = pipeline
        self._deeper()
        value: object = _NOTHING
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

    def _command(self, command: Command, dot: object, final: object) -> object:
        self._step()
        first, arguments = command.operands[0], command.operands[1:]
        match first:
            case Path() if first.names:
                return self._path(first, dot, arguments, final)
            case Word() if first.name not in {".", "nil"}:
                self._at = first
                return self._call(
                    first.name, self._functions[first.name], command, dot, arguments, final
                )
        if not isinstance(first, Pipeline):
            self._at = first
        if arguments or final is not _NOTHING:
            raise self._failed(f"can't give argument to non-function {first}")
        if isinstance(first, Word) and first.name == "nil":
            raise self._failed("nil is not a command")
        return self._operand(first, dot)

    def _operand(self, operand: Operand, dot: object) -> object:
        match operand:
            case Literal():
                self._at = operand
                return operand.value
            case Pipeline():
                return self._pipeline(operand, dot)
            case Path():
                return self._path(operand, dot, (), _NOTHING)
            case Word(name="nil"):
                return None
            case Word(name="."):
                return dot
        self._at = operand
        return self._call(operand.name, self._functions[operand.name], operand, dot, (), _NOTHING)

    def _path(self, path: Path, dot: object, arguments: Sequence[Operand], final: object) -> object:
        self._at = path
        if isinstance(path.start, str):
            value = dot if path.start == "." else self._variable(path.start)
        else:
            value = self._operand(path.start, dot)
        from_map = False
        for index, name in enumerate(path.names):
            last = index == len(path.names) - 1
            given = (arguments, final) if last else ((), _NOTHING)
            if value is None:
                if from_map:
                    raise self._failed(f"nil pointer evaluating interface {{}}.{name}")
                continue
            from_map = isinstance(value, dict)
            value = self._member(value, name, path, dot, given)
        return value

    def _variable(self, name: str) -> object:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise self._failed(f"undefined variable: {name}")

    def _member(
        self,
        value: object,
        name: str,
        path: Path,
        dot: object,
        given: tuple[Sequence[Operand], object],
    ) -> object:
        arguments, final = given
        if (member := self._members.get(type(value), {}).get(name)) is not None:
            bound = Function(lambda *rest: member.call(value, *rest), member.takes, member.variadic)
            return self._call(name, bound, path, dot, arguments, final)
        if isinstance(value, dict):
            if arguments or final is not _NOTHING:
                raise self._failed(f"{name} is not a method but has arguments")
            return value.get(name, "" if isinstance(value, StringMap) else None)
        raise self._failed(f"can't evaluate field {name} in type {go_type(value)}")

    def _call(  # noqa: PLR0917 - all of one call
        self,
        name: str,
        function: Function,
        caller: Part,
        dot: object,
        arguments: Sequence[Operand],
        final: object,
    ) -> object:
        takes, count = function.takes, len(arguments) + (final is not _NOTHING)
        if function.variadic and count < len(takes) - 1:
            raise self._failed(
                f"wrong number of args for {name}: want at least {len(takes) - 1} got {count}"
            )
        if not function.variadic and count != len(takes):
            raise self._failed(f"wrong number of args for {name}: want {len(takes)} got {count}")
        if name in {"and", "or"} and function.call is truth:
            return self._and_or(name, dot, arguments, final)
        values: list[object] = []
        for index, argument in enumerate(arguments):
            values.append(self._argument(argument, takes[min(index, len(takes) - 1)], dot))
        if final is not _NOTHING:
            values.append(self._checked(final, takes[min(count, len(takes)) - 1]))
        try:
            result = function.call(*values)
        except CallFailed as error:
            self._at = caller
            raise self._failed(f"error calling {name}: {error}") from None
        self._step(sum(len(one) for one in (*values, result) if isinstance(one, str | list)))
        return result

    def _and_or(
        self, name: str, dot: object, arguments: Sequence[Operand], final: object
    ) -> object:
        value: object = None
        for argument in arguments:
            value = self._argument(argument, "any", dot)
            if truth(value) == (name == "or"):
                return value
        return value if final is _NOTHING else final

    def _argument(self, operand: Operand, wanted: str, dot: object) -> object:
        self._at = operand
        if isinstance(operand, Word) and operand.name == "nil":
            if wanted != "any":
                raise self._failed(f"cannot assign nil to {wanted}")
            return None
        if isinstance(operand, Literal) and wanted not in {"any", go_type(operand.value)}:
            raise self._failed(f"expected {wanted}; found {operand}")
        return self._checked(self._operand(operand, dot), wanted)

    def _checked(self, value: object, wanted: str) -> object:
        if wanted == "any" or go_type(value) == wanted or (wanted == "[]string" and value == []):
            return value
        if value is None:
            raise self._failed(f"invalid value; expected {wanted}")
        raise self._failed(f"wrong type for value; expected {wanted}; got {go_type(value)}")
