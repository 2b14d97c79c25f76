"""What can go wrong on the write side.

ServiceError
├── WriteError
│   ├── BadBody            400  the bytes are not what their content type says
│   ├── InvalidLabels      400  one series' labels cannot be stored (refuses its samples only)
│   ├── SamplesRefused     400  stored the valid rest, refused these; counts and first error
│   ├── UnsupportedBody    415  another protocol version or encoding
│   ├── BodyTooLarge       413  over a size limit, before or after decompression
│   ├── SlowBody           503  the body did not arrive in time; senders come again
│   ├── RateLimited        429  the tenant's samples a second
│   ├── NoSuchImport       404  another id, another organisation's, or deleted
│   ├── TooManyImports     429  of the tenant, that have not ended
│   └── Defect             500  a mistake of ours, which the protocol tells in its own way
├── StoreError
│   ├── StoreUnavailable   503  Postgres does not answer, or not in time
│   │   └── SeriesOutdated 503  series ids of the write are not valid any more
│   ├── Overloaded         503  a queue or the memory budget is full
│   ├── StoreRefused       400  Postgres refuses what is in one write
│   └── BadPayload         500  stored bytes that do not decode
└── (identity's Unauthenticated, Forbidden, IdentityUnavailable)
"""

from data_ingest.chassis.kinds import Kind, ServiceError


class WriteError(ServiceError):
    """The write was refused."""

    kind = Kind.BAD_DATA


class BadBody(WriteError):
    """The body cannot be decoded."""


class InvalidLabels(WriteError):
    """The labels of a series are not valid."""


class SamplesRefused(WriteError):
    """Some samples were refused; the others are stored."""

    def describe(self) -> str:
        """Counts by reason, then the first error in full."""
        refused = self.facts["refused"]
        by_reason = " ".join(f"{reason}={count}" for reason, count in sorted(refused.items()))
        accepted = self.facts["accepted"]
        text = f"{sum(refused.values())} samples refused ({by_reason}), {accepted} stored"
        return (
            f"{text}; first: {self.facts['first_error']}" if self.facts.get("first_error") else text
        )


class UnsupportedBody(WriteError):
    """This kind of body is not accepted here."""

    kind = Kind.UNSUPPORTED


class BodyTooLarge(WriteError):
    """The body is too large."""

    kind = Kind.TOO_LARGE


class SlowBody(WriteError):
    """The body arrived too slowly"""

    kind = Kind.TIMEOUT


class RateLimited(WriteError):
    """The tenant sends more samples a second than its plan allows."""

    kind = Kind.RATE_LIMITED


class NoSuchImport(WriteError):
    """There is no import of this id."""

    kind = Kind.NOT_FOUND


class TooManyImports(WriteError):
    """Too many imports have not ended; wait, cancel or delete some."""

    kind = Kind.RATE_LIMITED


class Defect(WriteError):
    """An unexpected error; the log of this service has it under the request id."""

    kind = Kind.INTERNAL


class StoreError(ServiceError):
    """The metric store could not do its part."""

    kind = Kind.UNAVAILABLE


class StoreUnavailable(StoreError):
    """The metric store does not answer; nothing of this request was acknowledged."""


class SeriesOutdated(StoreUnavailable):
    """Series were deleted, or the store was replaced, since the ids of a write were looked up."""


class Overloaded(StoreError):
    """More is waiting to be written than this process may hold."""


class StoreRefused(StoreError):
    """Postgres refuses what is in this write."""

    kind = Kind.BAD_DATA


class BadPayload(StoreError):
    """A stored batch or block does not decode."""

    kind = Kind.INTERNAL
