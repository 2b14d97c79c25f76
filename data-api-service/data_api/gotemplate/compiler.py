"""Text → a template of closures, with Go's words for what is wrong. Source: Go's
`text/template/parse`, `text/template/exec.go`.

A method of `Compiler` reads one construct and answers what it does when it runs: a `Node` writes,
a `Value` is computed, a `Term` is a value that may be given arguments.
"""

import re
from collections.abc import Callable, Collection, Sequence

from data_api.gotemplate.errors import TemplateError
from data_api.gotemplate.execution import Arguments, Node, Place, Run, Template
from data_api.gotemplate.formatting import quote
from data_api.gotemplate.lexer import Action, Token, actions, error

TEXT_CHARS_MAX = 65_536
NESTING_MAX = 50
_WITH_PIPELINE = {"", "if", "with", "range", "else if", "else with"}
_DECIDES = {"and": False, "or": True}  # the truth at which they need no further arguments

Value = Callable[[Run, object], object]
Term = Callable[[Run, object, Arguments], object]


class Compiler:
    """One reading of one text. Variables in scope have their index as their number."""

    def __init__(self, text: str, file: str, functions: Collection[str]) -> None:
        if len(text) > TEXT_CHARS_MAX:
            raise error(file, "", 0, f"{len(text)} characters, {TEXT_CHARS_MAX} at most")
        self._text, self._file, self._functions = text, file, functions
        self._actions = actions(file, text)
        self._tokens: list[Token] = []  # of the action that is read, as the next four
        self._index = self._at = self._end = 0
        self._sets = ""  # until its pipeline is read
        self._name = file  # of the definition that is read, as the next two
        self._variables = ["$"]
        self._loops = 0
        self._depth = 0
        self._definitions: dict[str, Node] = {}

    def template(self) -> Template:
        """The whole text."""
        main, closed_by = self._body()
        if closed_by:
            raise self._error(f"unexpected {{{{{closed_by}}}}}")
        return Template(main, self._definitions)

    @property
    def _ahead(self) -> Token:
        return self._tokens[self._index]

    def _takes(self, kind: str) -> bool:
        """Whether the next token is of this kind; then it is read."""
        is_next = self._ahead.kind == kind
        self._index += is_next
        return is_next

    def _error(self, reason: str) -> TemplateError:
        at = self._ahead.at if self._index < len(self._tokens) else self._at
        return error(self._file, self._text, at, reason)

    def _unexpected(self, context: str) -> TemplateError:
        return self._error(f"unexpected {quote(self._ahead.text[:40])} in {context}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._error(f"nested deeper than {NESTING_MAX}")

    def _place(self, at: int, end: int) -> Place:
        return Place(self._file, self._text, self._name, at, end)

    def _body(self) -> tuple[Node, str]:
        """What stands up to `end`, an `else` or the end of the text (""), and which it was."""
        self._deeper()
        declared, nodes, closed_by = len(self._variables), [], ""
        for action in self._actions:
            self._tokens, self._index = action.tokens, 0
            self._at, self._end, self._sets = action.at, action.end, action.sets
            if action.sets and action.keyword not in _WITH_PIPELINE:
                raise self._error(f"unexpected {quote(action.sets.strip())} in {action.keyword}")
            if action.text:
                nodes.append(_written(_constant(action.text)))
            if action.keyword in {"end", "else", "else if", "else with"}:
                closed_by = action.keyword
                break
            if action.keyword == "define":
                if self._depth > 1:
                    raise self._error('unexpected "define" in command')
                name = self._string("define")
                if not self._takes("}}"):
                    raise self._unexpected("define clause")
                self._define(name)
            elif action.keyword != "text":
                nodes.append(self._action(action))
        if closed_by in {"end", "else"} and not self._takes("}}"):
            raise self._unexpected(closed_by)
        del self._variables[declared:]
        self._depth -= 1
        return _sequence(nodes), closed_by

    def _action(self, action: Action) -> Node:
        """What the action does; a block is read up to its `end`."""
        match keyword := action.keyword:
            case "if" | "with" | "range":
                return self._control(keyword)
            case "break" | "continue":
                if not self._takes("}}"):
                    raise self._unexpected(keyword)
                if not self._loops:
                    raise self._error(f"{{{{{keyword}}}}} outside {{{{range}}}}")
                return lambda _run, _dot: keyword
            case "template" | "block":
                return self._invocation(keyword)
        value, numbers = self._pipeline("command")
        return _computed(value) if numbers else _written(value)

    def _invocation(self, keyword: str) -> Node:
        place = self._place(self._at, self._end)
        name, data = self._string(keyword), _constant(None)
        if keyword == "block" or self._ahead.kind != "}}":
            data, _ = self._pipeline(f"{keyword} clause")
        if keyword == "block":
            self._define(name)
        return lambda run, dot: run.invoke(name, data(run, dot), place)

    def _string(self, keyword: str) -> str:
        token = self._ahead
        if not isinstance(token.value, str):
            raise self._unexpected(f"{keyword} clause")
        self._index += 1
        return token.value

    def _define(self, name: str) -> None:
        """What is defined sees no variable and no loop of what is around it."""
        around = self._name, self._variables, self._loops
        self._name, self._variables, self._loops = name, ["$"], 0
        body, closed_by = self._body()
        self._require_end(closed_by)
        self._name, self._variables, self._loops = around
        if name in self._definitions:
            raise self._error(f"template: multiple definition of template {quote(name)}")
        self._definitions[name] = body

    def _require_end(self, closed_by: str) -> None:
        if closed_by != "end":
            raise self._error("expected end; found {{else}}" if closed_by else "unexpected EOF")

    def _control(self, keyword: str) -> Node:
        declared = len(self._variables)
        place = self._place(self._ahead.at, self._tokens[-1].at)
        value, numbers = self._pipeline(keyword)
        self._loops += keyword == "range"
        body, closed_by = self._body()
        self._loops -= keyword == "range"
        otherwise: Node = _sequence(())
        if closed_by == f"else {keyword}":  # its `end` is ours
            self._deeper()
            otherwise, closed_by = self._control(keyword), "end"
            self._depth -= 1
        elif closed_by == "else":
            otherwise, closed_by = self._body()
        self._require_end(closed_by)
        del self._variables[declared:]
        if keyword == "range":
            return _loop(value, numbers, body, otherwise, place)

        def choose(run: Run, dot: object) -> str | None:
            if condition := value(run, dot):
                return body(run, condition if keyword == "with" else dot)
            return otherwise(run, dot)

        return choose

    def _pipeline(self, context: str, end: str = "}}") -> tuple[Value, Sequence[int]]:
        """The value up to and with `end`, and the numbers of the variables that it sets."""
        names, is_new = re.findall(r"\$\w*", self._sets), ":" in self._sets
        self._sets = ""
        if len(names) > 1 and context != "range":
            raise self._error(f"too many declarations in {context}")
        if self._ahead.kind == end:
            raise self._error(f"missing value for {context}")
        commands = [self._command(context)]
        while self._takes("|"):
            if self._ahead.kind == "literal" or self._ahead.text == ".":
                raise self._error(f"non executable command in pipeline stage {len(commands) + 1}")
            commands.append(self._command(context))
        if not self._takes(end):
            raise self._error(f"{'unexpected right' if end == '}}' else 'unclosed left'} paren")
        if is_new:
            self._variables += names
        numbers = [self._number_of(name) for name in names]

        def pipe(run: Run, dot: object) -> object:
            run.enter()
            piped: Arguments = ()
            for command in commands:
                piped = (command(run, dot, piped),)
            run.variables.update((number, piped[0]) for number in numbers)
            run.depth -= 1
            return piped[0]

        return pipe, numbers

    def _number_of(self, variable: str) -> int:
        """The innermost variable of that name."""
        if variable not in self._variables:
            raise self._error(f"undefined variable {quote(variable)}")
        return len(self._variables) - 1 - self._variables[::-1].index(variable)

    def _command(self, context: str) -> Term:
        """A function, a method or a value, and its arguments; it is given what is piped into it."""
        first = self._ahead
        place = self._place(first.at, -1)
        terms: list[Term] = []
        while self._ahead.kind not in {"|", "}}", ")"}:
            if self._ahead.at == place.end:
                raise self._unexpected("operand")
            terms.append(self._operand(context, place))
            last = self._tokens[self._index - 1]
            place.end = last.at + len(last.text)
        if not terms:
            raise self._error(f"missing value for {context}")
        if first.text == "nil" and len(terms) == 1:
            raise self._error("nil is not a command")
        decides = _DECIDES.get(first.text)
        head, *operands = terms

        def command(run: Run, dot: object, piped: Arguments) -> object:
            run.place = place
            run.spend()
            arguments: list[object] = []
            for operand in operands:
                arguments.append(operand(run, dot, ()))
                if decides is not None and bool(arguments[-1]) == decides:
                    return arguments[-1]
            return head(run, dot, [*arguments, *piped])

        return command

    def _operand(self, context: str, place: Place) -> Term:
        """One part of the command at `place`."""
        token = self._ahead
        self._index += 1
        match token.kind:
            case "literal":
                return _path(_constant(token.value), (), place)
            case "word" if (name := token.text) in self._functions:
                return lambda run, _, given: run.call(name, run.functions[name], given, place)
            case "path":
                start, *names = token.text.split(".")
                if start:
                    return _path(_variable(self._number_of(start)), names, place)
                return _path(lambda _run, dot: dot, list(filter(None, names)), place)
            case "(":
                self._deeper()
                inner, _ = self._pipeline("parenthesized pipeline", ")")
                self._depth -= 1
                return _path(inner, self._tokens[self._index - 1].text.split(".")[1:], place)
        self._index -= 1
        if token.kind == "word":
            raise self._error(f"function {quote(token.text[:40])} not defined")
        raise self._unexpected(context)


def _constant(value: object) -> Value:
    return lambda _run, _dot: value


def _variable(number: int) -> Value:
    return lambda run, _dot: run.variables[number]


def _written(value: Value) -> Node:
    return lambda run, dot: run.write(value(run, dot))


def _computed(value: Value) -> Node:
    """The value is computed for the variables that it sets, and not written."""

    def compute(run: Run, dot: object) -> None:
        value(run, dot)

    return compute


def _path(start: Value, names: Sequence[str], place: Place) -> Term:
    """`.A.B`, `$x.A`, `(pipeline).A`: a value and the names after it; the last may be a method."""

    def look_up(run: Run, dot: object, arguments: Arguments) -> object:
        value = start(run, dot)
        if arguments and not names:
            raise place.failed("can't give argument to non-function")
        for index, name in enumerate(names, 1):
            value = run.member(value, name, arguments if index == len(names) else (), place)
        return value

    return look_up


def _sequence(nodes: Sequence[Node]) -> Node:
    def body(run: Run, dot: object) -> str | None:
        run.enter()
        leaves = None
        for node in nodes:
            run.spend()
            if leaves := node(run, dot):
                break
        run.depth -= 1
        return leaves

    return body


def _loop(
    value: Value, variables: Sequence[int], body: Node, otherwise: Node, place: Place
) -> Node:
    """`range`: of two variables the first is the index, a single one is the element."""

    def loop(run: Run, dot: object) -> str | None:
        items = run.items(value(run, dot), place)
        for index, item in items:
            run.spend()
            run.variables.update(zip(variables, (index, item)[-len(variables) :], strict=False))
            if body(run, item) == "break":
                break
        return None if items else otherwise(run, dot)

    return loop
