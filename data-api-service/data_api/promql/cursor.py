"""The tokens of one query and the place that parsing has reached; what all parts of the parser use.

A tenant writes the text, so the bounds are kept here: tokens, names in one pair of brackets, levels
of nesting, and levels of the finished tree, which every later walk over it relies on. Characters
have no bound of their own: a variable's every value in one regex is an ordinary query.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, NoReturn, TypeVar

from data_api.promql import lexer
from data_api.promql.lexer import Kind, Token
from data_api.promql.nodes import PRECEDENCE, Expr, Node, Span

NESTING_MAX = 100
DEPTH_MAX = 200
TOKENS_MAX = 8192
GROUPING_MAX = 256  # no series has so many labels

N = TypeVar("N", bound=Node)


class QueryTimes(NamedTuple):
    """What `step()` and `range()` are in a duration, ms."""

    step_ms: int
    range_ms: int


class Cursor(ABC):
    """A query's tokens and the index of the next one."""

    def __init__(self, text: str, times: QueryTimes | None = None) -> None:
        self.text = text
        self.times = times
        self.tokens: list[Token] = []
        for token in lexer.tokens(text):
            self.tokens.append(token)
            if len(self.tokens) > TOKENS_MAX:
                self.fail(token, f"query has more than {TOKENS_MAX} tokens")
        self.index = 0
        self.nesting = 0

    @abstractmethod
    def expression(self, floor: int) -> Expr:
        """The longest expression whose operators all bind tighter than `floor`."""

    @abstractmethod
    def primary(self) -> Expr:
        """The next number, text, selector without what may follow it, call or parenthesis."""

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.index]

    def advance(self) -> Token:
        """The next token, which is then behind; END stays the next one."""
        token = self.tokens[self.index]
        self.index += token.kind is not Kind.END
        return token

    def go_to(self, span: Span) -> None:
        """The token that begins where `span` does is the next one."""
        self.index = next(i for i, token in enumerate(self.tokens) if token.start == span.start)

    def peek(self) -> Token:
        """The token after the next one."""
        return self.tokens[min(self.index + 1, len(self.tokens) - 1)]

    def at_symbol(self, *symbols: str) -> bool:
        """Whether the next token is one of these symbols."""
        return self.token.kind is Kind.SYMBOL and self.token.text in symbols

    def at_word(self, *words: str) -> bool:
        """Whether the next token is one of these words, in any case."""
        return self.token.kind is Kind.IDENTIFIER and self.token.text.lower() in words

    def take(self, symbol: str) -> bool:
        """Advance if the next token is this symbol; whether it was."""
        if self.at_symbol(symbol):
            self.index += 1
            return True
        return False

    def expect(self, symbol: str, context: str) -> Token:
        """Advance over this symbol, or fail."""
        if not self.at_symbol(symbol):
            self.unexpected(context, f'"{symbol}"')
        return self.advance()

    def span_from(self, start: int) -> Span:
        """From `start` to the end of the last token that is behind."""
        return Span(start, self.tokens[self.index - 1].end)

    def fail(self, place: Token | Span, reason: str) -> NoReturn:
        """Raise the parse error that points at the beginning of `place`."""
        lexer.fail(self.text, place.start, reason)

    def unexpected(self, context: str, expected: str = "") -> NoReturn:
        """Raise the parse error about the next token."""
        reason = f"unexpected {_describe(self.token)}"
        if context:
            reason += f" in {context}"
        if expected:
            reason += f", expected {expected}"
        self.fail(self.token, reason)

    def enter(self) -> None:
        """One more level of nesting, or fail; `leave` ends it."""
        self.nesting += 1
        if self.nesting > NESTING_MAX:
            self.fail(self.token, f"query is nested more than {NESTING_MAX} levels deep")

    def leave(self) -> None:
        """One level of nesting is done."""
        self.nesting -= 1

    def bounded(self, node: N) -> N:
        """The same node; fails if its tree is too deep."""
        if node.depth > DEPTH_MAX:
            self.fail(node.span, f"query is nested more than {DEPTH_MAX} levels deep")
        return node


def _describe(token: Token) -> str:
    """A token in Prometheus's words."""
    if token.kind is Kind.END:
        return "end of input"
    if token.kind in {Kind.IDENTIFIER, Kind.SYMBOL} and token.text.lower() in PRECEDENCE:
        return f"<op:{token.text.lower()}>"
    if token.kind is Kind.SYMBOL:
        return f'"{token.text}"'
    return f'{token.kind.name.lower()} "{token.text}"'
