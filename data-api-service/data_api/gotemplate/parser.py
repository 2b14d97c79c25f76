"""Tokens → a template, with Go's words for what is wrong. Source: Go's `text/template/parse`."""

from collections.abc import Callable, Collection
from typing import TypeVar

from data_api.gotemplate.errors import CallFailed, TemplateSyntax
from data_api.gotemplate.formatting import quote, unquote
from data_api.gotemplate.lexer import Token, number, tokens
from data_api.gotemplate.nodes import (
    Action,
    Block,
    Body,
    Command,
    Definition,
    Invocation,
    Leave,
    Literal,
    Node,
    Operand,
    Path,
    Pipeline,
    Template,
    Text,
    Word,
)

T = TypeVar("T")

TEXT_CHARS_MAX = 65_536
NESTING_MAX = 50
_OPERANDS = frozenset(
    {
        "bool",
        "char",
        "dot",
        "field",
        "identifier",
        "number",
        "nil",
        "raw",
        "string",
        "variable",
        "(",
    }
)


class Parser:
    """One reading of one text."""

    def __init__(self, text: str, name: str, functions: Collection[str]) -> None:
        self.text = text
        self.name = name
        self.functions = functions
        self.definitions: dict[str, Definition] = {}
        self._tokens = tokens(text)
        self._ahead: list[Token] = []
        self._last = Token("eof", "EOF", 0)
        self._action_at = 0
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0

    def template(self) -> Template:
        """The whole text."""
        if len(self.text) > TEXT_CHARS_MAX:
            raise self._error(f"{len(self.text)} characters, {TEXT_CHARS_MAX} at most")
        nodes: list[Node] = []
        while self._peek().kind != "eof":
            node = self._text_or_action(top=True)
            if isinstance(node, str):
                raise self._error(f"unexpected {{{{{node}}}}}")
            if node is not None:
                nodes.append(node)
        main = Definition(self.name, self.text, tuple(nodes))
        return Template(self.name, main, self.definitions)

    def _next(self, *, spaces: bool = False) -> Token:
        while True:
            token = self._ahead.pop() if self._ahead else next(self._tokens)
            self._last = token
            if spaces or token.kind != "space":
                return token

    def _peek(self, *, spaces: bool = False) -> Token:
        token = self._next(spaces=spaces)
        self._ahead.append(token)
        return token

    def _expect(self, kind: str, context: str) -> Token:
        token = self._next()
        if token.kind != kind:
            raise self._unexpected(token, context)
        return token

    def _error(self, reason: str) -> TemplateSyntax:
        line = 1 + self.text.count("\n", 0, self._last.at)
        return TemplateSyntax(reason=f"template: {self.name}:{line}: {reason}")

    def _unexpected(self, token: Token, context: str) -> TemplateSyntax:
        if token.kind != "error":
            return self._error(f"unexpected {token} in {context}")
        began = 1 + self.text.count("\n", 0, self._action_at)
        where = ""
        if self.text.count("\n", self._action_at, token.at) and self._action_at:
            action = "" if token.text.endswith(" action") else " in action"
            where = f"{action} started at {self.name}:{began}"
        return self._error(f"{token.text}{where}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._error(f"nested deeper than {NESTING_MAX}")

    def _text_or_action(  # noqa: C901, PLR0911 - a case a keyword
        self, *, top: bool = False
    ) -> Node | str | None:
        """A node; `end` or `else` of what is around it; None of a definition."""
        token = self._next()
        if token.kind == "text":
            return Text(token.at, token.text)
        if token.kind != "{{":
            raise self._unexpected(token, "input")
        self._action_at = token.at
        keyword = self._next()
        match keyword.kind:
            case "define" if top:
                self._define()
                return None
            case "end":
                self._expect("}}", "end")
                return "end"
            case "else":
                if self._peek().kind not in {"if", "with"}:
                    self._expect("}}", "else")
                return "else"
            case "if" | "with" | "range":
                return self._control(keyword)
            case "break" | "continue":
                self._expect("}}", f"{{{{{keyword.kind}}}}}")
                if not self._ranges:
                    raise self._error(f"{{{{{keyword.kind}}}}} outside {{{{range}}}}")
                return Leave(keyword.at, keyword.kind)
            case "template":
                return self._invocation()
            case "block":
                return self._block()
        self._ahead.append(keyword)
        return Action(keyword.at, self._pipeline("command"))

    def _body(self) -> tuple[Body, str]:
        """The nodes up to `end` or `else`, and which of them it was."""
        self._deeper()
        nodes: list[Node] = []
        while self._peek().kind != "eof":
            node = self._text_or_action()
            if isinstance(node, str):
                self._depth -= 1
                return tuple(nodes), node
            assert node is not None
            nodes.append(node)
        raise self._error("unexpected EOF")

    def _control(self, keyword: Token) -> Block:
        declared = len(self._variables)
        pipeline = self._pipeline(keyword.kind)
        self._ranges += keyword.kind == "range"
        body, closed_by = self._body()
        self._ranges -= keyword.kind == "range"
        otherwise: Body = ()
        if closed_by == "else":
            after = self._peek()
            if after.kind in {"if", "with"}:
                if after.kind != keyword.kind:
                    raise self._unexpected(self._next(), "else")
                self._deeper()
                otherwise = (self._control(self._next()),)
                self._depth -= 1
            else:
                otherwise, closed_by = self._body()
                if closed_by != "end":
                    raise self._error(f"expected end; found {{{{{closed_by}}}}}")
        del self._variables[declared:]
        return Block(keyword.at, keyword.kind, pipeline, body, otherwise)

    def _define(self) -> None:
        name = self._name("define clause")
        self._expect("}}", "define clause")
        self._apart(name, "define clause")

    def _invocation(self) -> Invocation:
        at = self._peek().at
        name = self._name("template clause")
        if self._peek().kind == "}}":
            self._next()
            return Invocation(at, name, None)
        return Invocation(at, name, self._pipeline("template clause"))

    def _block(self) -> Invocation:
        at = self._peek().at
        name = self._name("block clause")
        pipeline = self._pipeline("block clause")
        self._apart(name, "block clause")
        return Invocation(at, name, pipeline)

    def _name(self, context: str) -> str:
        token = self._next()
        if token.kind not in {"string", "raw"}:
            raise self._unexpected(token, context)
        return self._strictly(unquote, token.text)

    def _apart(self, name: str, context: str) -> None:
        """What is defined sees no variable and no loop of what is around it."""
        around = self._variables, self._ranges
        self._variables, self._ranges = ["$"], 0
        body, closed_by = self._body()
        if closed_by != "end":
            raise self._error(f"unexpected {{{{{closed_by}}}}} in {context}")
        self._variables, self._ranges = around
        before = self.definitions.get(name)
        if before is None or _is_empty(before.body):
            self.definitions[name] = Definition(self.name, self.text, body)
        elif not _is_empty(body):
            raise self._error(f"template: multiple definition of template {quote(name)}")

    def _pipeline(self, context: str, end: str = "}}") -> Pipeline:
        at = self._peek().at
        variables, assigns = self._declarations(context)
        commands: list[Command] = []
        while (token := self._next()).kind not in {"}}", ")"}:
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            self._ahead.append(token)
            commands.append(self._command())
        if token.kind != end:
            raise self._unexpected(token, context)
        if not commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            first = command.operands[0]
            if isinstance(first, Literal) or (
                isinstance(first, Word) and first.name in {".", "nil"}
            ):
                raise self._error(f"non executable command in pipeline stage {stage}")
        return Pipeline(at, variables, assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        names: list[str] = []
        while self._peek().kind == "variable":
            variable = self._next()
            behind = self._next(spaces=True)
            token = self._next() if behind.kind == "space" else behind
            if token.kind in {"declare", "="}:
                return self._declared([*names, variable.text]), token.kind == "="
            if token.text != ",":
                self._ahead += (
                    [token, behind, variable] if behind is not token else [token, variable]
                )
                break
            names.append(variable.text)
            if context != "range" or len(names) > 1:
                raise self._error(f"too many declarations in {context}")
            if self._peek().kind not in {"variable", "}}", ")"}:
                raise self._error("range can only initialize variables")
        return self._declared(names), False

    def _declared(self, names: list[str]) -> tuple[str, ...]:
        self._variables += names
        return tuple(names)

    def _command(self) -> Command:
        at = self._peek().at
        operands: list[Operand] = []
        while True:
            if (operand := self._operand()) is not None:
                operands.append(operand)
            token = self._next(spaces=True)
            if token.kind == "space":
                continue
            if token.kind in {"}}", ")"}:
                self._ahead.append(token)
            elif token.kind != "|":
                raise self._unexpected(token, "operand")
            break
        if not operands:
            raise self._error("empty command")
        return Command(at, tuple(operands))

    def _operand(self) -> Operand | None:
        term = self._term()
        if term is None or (token := self._peek(spaces=True)).kind != "field":
            return term
        names: list[str] = []
        while self._peek(spaces=True).kind == "field":
            names.append(self._next().text[1:])
        if isinstance(term, Path):
            return Path(token.at, term.start, (*term.names, *names))
        if isinstance(term, Literal) or (isinstance(term, Word) and term.name in {".", "nil"}):
            raise self._error(f"unexpected . after term {quote(str(term))}")
        return Path(token.at, term, tuple(names))

    def _term(self) -> Operand | None:  # noqa: C901, PLR0911 - a case a kind
        token = self._next()
        match token.kind:
            case "error":
                raise self._unexpected(token, "")
            case "identifier":
                if token.text not in self.functions:
                    raise self._error(f"function {quote(token.text)} not defined")
                return Word(token.at, token.text)
            case "dot" | "nil":
                return Word(token.at, token.text)
            case "variable":
                if token.text not in self._variables:
                    raise self._error(f"undefined variable {quote(token.text)}")
                return Path(token.at, token.text, ())
            case "field":
                return Path(token.at, ".", (token.text[1:],))
            case "bool":
                return Literal(token.at, token.text, token.text == "true")
            case "char" | "number":
                return Literal(token.at, token.text, self._strictly(number, token.text))
            case "string" | "raw":
                return Literal(token.at, token.text, self._strictly(unquote, token.text))
            case "(":
                self._deeper()
                pipeline = self._pipeline("parenthesized pipeline", ")")
                self._depth -= 1
                return pipeline
        self._ahead.append(token)
        return None

    def _strictly(self, read: Callable[[str], T], text: str) -> T:
        try:
            return read(text)
        except CallFailed as error:
            raise self._error(str(error)) from None


def _is_empty(body: Body) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in body)
