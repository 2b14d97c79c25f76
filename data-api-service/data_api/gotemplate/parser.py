"""Tokens → a template, with Go's words for what is wrong. Source: Go's `text/template/parse`."""

import re
from collections.abc import Callable, Collection
from typing import TypeVar

from data_api.gotemplate import nodes
from data_api.gotemplate.errors import CallFailed, TemplateSyntax
from data_api.gotemplate.formatting import quote
from data_api.gotemplate.lexer import Token, error, number, tokens, unquote

T = TypeVar("T")

TEXT_CHARS_MAX = 65_536
NESTING_MAX = 50
_CONSTANTS = {"true": True, "false": False, "nil": None}


class Parser:
    """One reading of one text."""

    def __init__(self, text: str, name: str, functions: Collection[str]) -> None:
        if len(text) > TEXT_CHARS_MAX:
            raise error(name, "", 0, f"{len(text)} characters, {TEXT_CHARS_MAX} at most")
        self._text, self._name, self._functions = text, name, functions
        self._definitions: dict[str, nodes.Definition] = {}
        self._tokens = list(tokens(name, text))
        self._index = 0
        self._variables = ["$"]
        self._depth = self._ranges = 0

    def template(self) -> nodes.Template:
        """The whole text."""
        body, closed_by = self._body()
        if closed_by:
            raise self._error(f"unexpected {{{{{closed_by}}}}}")
        main = nodes.Definition(self._name, self._text, body)
        return nodes.Template(self._name, main, self._definitions)

    @property
    def _ahead(self) -> Token:
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._ahead
        self._index += token.kind != "eof"
        return token

    def _takes(self, kind: str) -> bool:
        """Whether the next token is of this kind; then it is read."""
        is_next = self._ahead.kind == kind
        self._index += is_next
        return is_next

    def _expect(self, kind: str, context: str) -> Token:
        token = self._next()
        if token.kind != kind:
            raise self._error(f"unexpected {token} in {context}")
        return token

    def _error(self, reason: str) -> TemplateSyntax:
        return error(self._name, self._text, self._tokens[max(self._index - 1, 0)].at, reason)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._error(f"nested deeper than {NESTING_MAX}")

    def _body(self) -> tuple[nodes.Body, str]:
        """The nodes up to `end`, `else` or the end of the text (""), and which of them it was."""
        self._deeper()
        body: list[nodes.Node] = []
        closed_by = ""
        while not closed_by and (token := self._next()).kind != "eof":
            if token.kind == "text":
                body.append(nodes.Text(token.text))
            elif self._takes("end"):
                self._expect("}}", closed_by := "end")
            elif self._takes("else"):
                closed_by = "else"
                if self._ahead.kind not in {"if", "with"}:
                    self._expect("}}", closed_by)
            elif self._depth == 1 and self._takes("define"):
                name = self._string("define clause")
                self._expect("}}", "define clause")
                self._define(name, "define clause")
            else:
                body.append(self._action(token.at))
        self._depth -= 1
        return tuple(body), closed_by

    def _action(self, at: int) -> nodes.Node:
        """The node whose `{{` stands at `at`."""
        keyword = self._ahead.kind
        if keyword in {"if", "with", "range"}:
            self._next()
            return self._control(keyword)
        if keyword in {"break", "continue"}:
            self._next()
            self._expect("}}", f"{{{{{keyword}}}}}")
            if not self._ranges:
                raise self._error(f"{{{{{keyword}}}}} outside {{{{range}}}}")
            return nodes.Leave(keyword)
        if keyword in {"template", "block"}:
            self._next()
            name = self._string(f"{keyword} clause")
            is_bare = keyword == "template" and self._takes("}}")
            pipeline = None if is_bare else self._pipeline(f"{keyword} clause")
            node = nodes.Invocation(at, self._tokens[self._index - 1].at + 2, name, pipeline)
            if keyword == "block":
                self._define(name, "block clause")
            return node
        return nodes.Action(self._pipeline("command"))

    def _control(self, keyword: str) -> nodes.Block:
        declared = len(self._variables)
        pipeline = self._pipeline(keyword)
        self._ranges += keyword == "range"
        body, closed_by = self._body()
        self._ranges -= keyword == "range"
        otherwise: nodes.Body = ()
        if closed_by == "else" and self._ahead.kind in {"if", "with"}:
            self._expect(keyword, "else")
            self._deeper()
            otherwise, closed_by = (self._control(keyword),), "end"
            self._depth -= 1
        elif closed_by == "else":
            otherwise, closed_by = self._body()
        self._require_end(closed_by, "expected end; found {{else}}")
        del self._variables[declared:]
        return nodes.Block(keyword, pipeline, body, otherwise)

    def _require_end(self, closed_by: str, problem: str) -> None:
        if closed_by != "end":
            raise self._error(problem if closed_by else "unexpected EOF")

    def _string(self, context: str) -> str:
        return self._strictly(unquote, self._expect("string", context).text)

    def _define(self, name: str, context: str) -> None:
        """What is defined sees no variable and no loop of what is around it."""
        around = self._variables, self._ranges
        self._variables, self._ranges = ["$"], 0
        body, closed_by = self._body()
        self._require_end(closed_by, f"unexpected {{{{else}}}} in {context}")
        self._variables, self._ranges = around
        before = self._definitions.get(name)
        if before is None or _is_empty(before.body):
            self._definitions[name] = nodes.Definition(self._name, self._text, body)
        elif not _is_empty(body):
            raise self._error(f"template: multiple definition of template {quote(name)}")

    def _pipeline(self, context: str, end: str = "}}") -> nodes.Pipeline:
        """Up to and with `end`."""
        variables, assigns = self._declarations(context)
        if self._takes(end):
            raise self._error(f"missing value for {context}")
        commands = [self._command(context)]
        while self._takes("|"):
            commands.append(self._command(context))
            first = commands[-1].operands[0]
            if isinstance(first, nodes.Literal) or first == nodes.Path(".", ()):
                raise self._error(f"non executable command in pipeline stage {len(commands)}")
        if self._next().kind != end:
            parenthesis = "unexpected right" if end == "}}" else "unclosed left"
            raise self._error(f"{parenthesis} paren")
        return nodes.Pipeline(variables, assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables that the pipeline sets, and whether they were there before."""
        names: list[str] = []
        begin = self._index
        while self._ahead.kind == "path" and re.fullmatch(r"\$\w*", self._ahead.text):
            names.append(self._next().text)
            if self._ahead.kind in {":=", "="}:
                self._variables += names
                return tuple(names), self._next().kind == "="
            if not self._takes(","):
                break
            if context != "range" or len(names) > 1:
                raise self._error(f"too many declarations in {context}")
        self._index = begin
        return (), False

    def _command(self, context: str) -> nodes.Command:
        at, end = self._ahead.at, -1
        operands: list[nodes.Operand] = []
        while self._ahead.kind not in {"|", "}}", ")"}:
            if self._ahead.at == end:
                raise self._error(f"unexpected {self._next()} in operand")
            operands.append(self._operand(context))
            last = self._tokens[self._index - 1]
            end = last.at + len(last.text)
        if not operands:
            raise self._error(f"missing value for {context}")
        return nodes.Command(at, end, tuple(operands))

    def _operand(self, context: str) -> nodes.Operand:
        token = self._next()
        match token.kind:
            case "word" if token.text in _CONSTANTS:
                return nodes.Literal(_CONSTANTS[token.text])
            case "word":
                if token.text not in self._functions:
                    raise self._error(f"function {quote(token.text)} not defined")
                return nodes.Word(token.text)
            case "path":
                start, *names = token.text.split(".")
                if start and start not in self._variables:
                    raise self._error(f"undefined variable {quote(start)}")
                return nodes.Path(start or ".", tuple(filter(None, names)))
            case "number":
                return nodes.Literal(self._strictly(number, token.text))
            case "string":
                return nodes.Literal(self._strictly(unquote, token.text))
            case "(":
                self._deeper()
                pipeline = self._pipeline("parenthesized pipeline", ")")
                self._depth -= 1
                _, *names = self._tokens[self._index - 1].text.split(".")
                return nodes.Path(pipeline, tuple(names))
        raise self._error(f"unexpected {token} in {context}")

    def _strictly(self, read: Callable[[str], T], text: str) -> T:
        try:
            return read(text)
        except CallFailed as problem:
            raise self._error(str(problem)) from None


def _is_empty(body: nodes.Body) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip() for node in body)
