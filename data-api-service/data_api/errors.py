"""What can go wrong on the read side.

ServiceError
├── BadRequest                 bad_data     a parameter that cannot be understood
│   ├── InvalidParameter                    names the parameter and what was wrong with its value
│   └── QuerySyntax                         the PromQL text does not parse; position in the text
├── QueryError                 execution    the query is well formed and cannot be answered
│   ├── TooManySamples                      it would load more samples than the tenant may
│   └── AnswerTooLarge                      its answer would have more bytes than one may have
├── TooManyQueries             rate_limited the tenant's queries in flight are at their limit
├── SamplesHeld                unavailable  the process holds as many samples as it may
├── QueryTimeout               timeout      the deadline passed
│   └── QueueTimeout                        while it waited for its first turn to compute
├── QueryCanceled              canceled     the client went away
├── NotWritten                 unavailable  data-ingest-service did not take a rule's samples
├── NotFound                   not_found    no such route or rule group
├── DatabaseUnavailable        unavailable  Postgres does not answer (chassis/database.py)
├── ObjectStoreUnavailable     unavailable  the object store does not answer (chassis/objects.py)
└── StoreError                 internal
    └── CorruptData            internal     a batch or a block is not what its format says
"""

from typing import ClassVar

from data_api.chassis.kinds import Kind, ServiceError


class BadRequest(ServiceError):
    """The request cannot be understood"""

    kind: ClassVar[Kind] = Kind.BAD_DATA


class InvalidParameter(BadRequest):
    """A parameter has a value that cannot be used; facts: `name`, `reason`."""

    def describe(self) -> str:
        """Prometheus's words, which Grafana shows as they are."""
        return f'invalid parameter "{self.facts["name"]}": {self.facts["reason"]}'


class QuerySyntax(BadRequest):
    """The query does not parse; facts: `reason`, `where` (`line:column: `), `parameter`."""

    def describe(self) -> str:
        """`invalid parameter "query": 1:5: parse error: …`, as Prometheus says it."""
        where, name = self.facts.get("where", ""), self.facts.get("parameter", "query")
        return f'invalid parameter "{name}": {where}parse error: {self.facts["reason"]}'


class BodyTooLarge(ServiceError):
    """The request's body is too large"""

    kind: ClassVar[Kind] = Kind.TOO_LARGE


class QueryError(ServiceError):
    """The query cannot be answered"""

    kind: ClassVar[Kind] = Kind.EXECUTION


class TooManySamples(QueryError):
    """Query processing would load too many samples into memory in query execution"""


class AnswerTooLarge(QueryError):
    """The answer is too large: narrow the selector, raise the step or set `limit`"""


class TooManyQueries(ServiceError):
    """The tenant has too many queries; facts: `reason`, `running`, `limit`, maybe `waiting`."""

    kind: ClassVar[Kind] = Kind.RATE_LIMITED

    def describe(self) -> str:
        """`query timed out in query queue …`, as Prometheus says it."""
        waiting = f"{self.facts['waiting']} wait, " if "waiting" in self.facts else ""
        return (
            f"{self.facts['reason']}: of this tenant {self.facts['running']} queries run, "
            f"{waiting}the limit is {self.facts['limit']}"
        )


class SamplesHeld(ServiceError):
    """Query processing would load too many samples into memory of this process"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class QueryTimeout(ServiceError):
    """query timed out in expression evaluation"""

    kind: ClassVar[Kind] = Kind.TIMEOUT


class QueueTimeout(QueryTimeout):
    """query timed out in query queue"""


class QueryCanceled(ServiceError):
    """query was canceled in expression evaluation: its client went away"""

    kind: ClassVar[Kind] = Kind.CANCELED


class NotWritten(ServiceError):
    """data-ingest-service did not take the samples"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class NotFound(ServiceError):
    """There is nothing of that name"""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class StoreError(ServiceError):
    """The metric store failed"""


class CorruptData(StoreError):
    """Stored data is not what its format says"""
