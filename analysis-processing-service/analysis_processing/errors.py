"""What can go wrong here, as one tree.

ServiceError
├── JobNotFound            not_found      no such job of this tenant
├── InvalidJob             bad_data       a request that can never be run
│   └── UnknownKind
├── InvalidPage            bad_data       a selector, cursor or format that is none
├── WatchNotFound  EventNotFound  SilenceNotFound   not_found
├── NameTaken              conflict       another watch of the tenant has that name
├── TooManyWatches  TooManySilences       conflict
├── BodyTooLarge           too_large      the body is over its bound
├── TooManySteps           too_large      the range has more steps than a series may have
├── WrongState             conflict       cancel, retry, delete or result at the wrong time
├── ResultChanged          conflict       the result was computed anew between two pages of it
├── TooManyStreams         rate_limited   as many callers watch jobs as this process serves
├── TooManyJobs            rate_limited   the tenant's queue is full
├── DatabaseUnavailable    unavailable    the chassis's; DatabaseTooSlow is one
└── AnalysisError          execution      a run ended; retrying would end it the same way
    ├── NoData  TooManySeries  TooManyPoints  BlockTooLarge  DoesNotFit
    ├── Refused                           das or dis refused what was asked
    └── Unreachable        unavailable    IO trouble: worth another attempt
"""

from typing import ClassVar

from analysis_processing.chassis.kinds import Kind, ServiceError


class JobNotFound(ServiceError):
    """There is no such job."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class WatchNotFound(ServiceError):
    """There is no such watch."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class EventNotFound(ServiceError):
    """There is no such event."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class SilenceNotFound(ServiceError):
    """There is no such silence."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class NameTaken(ServiceError):
    """Another watch of this organisation has that name."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class TooManyWatches(ServiceError):
    """This organisation has as many watches as it may have; delete one."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class TooManySilences(ServiceError):
    """This organisation has as many silences as it may have; delete one or let it run out."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class InvalidJob(ServiceError):
    """The job cannot be run as asked."""

    kind: ClassVar[Kind] = Kind.BAD_DATA


class UnknownKind(InvalidJob):
    """There is no analysis of this kind."""


class BodyTooLarge(ServiceError):
    """The request body is larger than any job needs."""

    kind: ClassVar[Kind] = Kind.TOO_LARGE


class TooManySteps(ServiceError):
    """The range has more steps than one series may have; take a longer step or a shorter range."""

    kind: ClassVar[Kind] = Kind.TOO_LARGE


class WrongState(ServiceError):
    """The job is not in a state that allows this."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class ResultChanged(ServiceError):
    """The result has been computed anew since; begin with its first page."""

    kind: ClassVar[Kind] = Kind.CONFLICT


class InvalidPage(ServiceError):
    """The result or list cannot be shown like this."""

    kind: ClassVar[Kind] = Kind.BAD_DATA


class TooManyStreams(ServiceError):
    """As many callers watch jobs as this process serves; read the job now and then instead."""

    kind: ClassVar[Kind] = Kind.RATE_LIMITED


class TooManyJobs(ServiceError):
    """This organisation has as many unfinished jobs as it may have; wait for one or cancel one."""

    kind: ClassVar[Kind] = Kind.RATE_LIMITED


class AnalysisError(ServiceError):
    """The analysis could not be made."""

    kind: ClassVar[Kind] = Kind.EXECUTION


class NoData(AnalysisError):
    """The query has no samples in this range."""


class TooManySeries(AnalysisError):
    """The query selects more series than one job may read; narrow it with matchers or aggregate."""


class TooManyPoints(AnalysisError):
    """The query returns more points than one job may read; take a longer step or fewer series."""


class BlockTooLarge(AnalysisError):
    """The series do not fit into the memory of one job; take a longer step or fewer series."""


class DoesNotFit(AnalysisError):
    """A parameter does not fit the data that the query returned."""


class Refused(AnalysisError):
    """Another service refused the request."""


class Unreachable(AnalysisError):
    """Another service does not answer."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE
