"""What can go wrong between a query's text and its answer.

errors.QuerySyntax
└── ParseError             bad_data    the text is not PromQL; line and column in the message
errors.QueryError
└── EvaluationError        execution   many-to-many match, duplicate series, bad parameter …
"""

from data_api.errors import QueryError, QuerySyntax

REASON_CHARS_MAX = 4096  # what quotes a tenant's text or labels may be long


def shortened(reason: str) -> str:
    """The reason, cut where it is longer than anybody reads."""
    return reason if len(reason) <= REASON_CHARS_MAX else f"{reason[:REASON_CHARS_MAX]}…"


class ParseError(QuerySyntax):
    """The query does not parse; facts: `reason` and `where` (``line:column: ``, from 1)"""

    @property
    def text(self) -> str:
        """Prometheus's words: `1:5: parse error: …`."""
        return f"{self.facts.get('where', '')}parse error: {self.facts['reason']}"


class InexactRollup(Exception):
    """Buckets do not prove the answer that the samples give"""


class EvaluationError(QueryError):
    """The query cannot be answered"""

    def describe(self) -> str:
        """Prometheus's words, which people search for."""
        return shortened(str(self.facts["reason"]))
