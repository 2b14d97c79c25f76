"""What a write protocol is: a row of the table in `protocols`, from which its routes are made.

    check ─▶ (body is read) ─▶ decode ─▶ (pipeline commits) ─▶ render

One `Outcome` for all protocols, and each tells it to its senders in its own way.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, TypeAlias
from uuid import UUID

from starlette.responses import Response

from data_ingest.chassis import problems
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BodyTooLarge, SamplesRefused
from data_ingest.model import Outcome, RawLabels, SampleBatch


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one request may hold."""

    decoded_bytes_max: int
    samples_max: int


def rooms(first: int, samples_max: int) -> Iterator[int]:
    """For how many samples to make room, ever more; `BodyTooLarge` after `samples_max`."""
    room = min(first, samples_max)
    yield room
    while room < samples_max:
        room = min(room * 8, samples_max)
        yield room
    raise BodyTooLarge(detail="too many samples in one request", limit=samples_max)


LABELS_READ_MAX: Final = 4_000_000
"""Of one request: reading labels is Python, about a microsecond each."""
LABEL_BYTES_READ_MAX: Final = 64 << 20
"""Of one request: texts may be shared by any number of series."""


@dataclass(slots=True)
class LabelBudget:
    """How many labels, and bytes of them, were read of one request."""

    labels: int = 0
    text_bytes: int = 0

    def spend(self, labels: RawLabels, text_bytes: int | None = None) -> RawLabels:
        """The same labels; `BodyTooLarge` where the request's are too many by now.

        text_bytes: of all names and values, where it is known.
        """
        self.labels += len(labels)
        self.text_bytes += (
            sum(map(len, chain.from_iterable(labels))) if text_bytes is None else text_bytes
        )
        if self.labels > LABELS_READ_MAX or self.text_bytes > LABEL_BYTES_READ_MAX:
            raise BodyTooLarge(
                detail="too many labels in one request",
                labels=self.labels,
                bytes=self.text_bytes,
                limit=LABELS_READ_MAX,
                bytes_limit=LABEL_BYTES_READ_MAX,
            )
        return labels


NOBODY: Final = UUID(int=0)


@dataclass(slots=True)
class WriteRequest:
    """A request as a protocol sees it: header names in lower case, the body as it was sent.

    query: of a name that comes twice the last. parameters: those of the route's path.
    received_ms: the time of samples that bring none. tenant: whose request it is, once proved. It
    and the body are set when they are there.
    """

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    query_string: str = ""
    body: bytes | bytearray = b""
    received_ms: int = 0
    tenant: UUID = NOBODY

    @property
    def media_type(self) -> str:
        """What the body is written in, in lower case and without parameters; empty: not said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """How the body is compressed, in lower case; empty: not at all."""
        return self.headers.get("content-encoding", "").strip().lower()


NO_CONTENT: Final = Response(status_code=204)


def render(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """204 when every sample is durable; else an error with counts and the first one's reason."""
    error = refusal(result) if isinstance(result, Outcome) else result
    return NO_CONTENT if error is None else problems.render(error, request.path)


def refusal(outcome: Outcome) -> SamplesRefused | None:
    """None when every sample was stored; else a 400, since senders must not send it again."""
    if not outcome.refused_total:
        return None
    return SamplesRefused(
        refused=dict(outcome.refused), accepted=outcome.accepted, first_error=outcome.first_error
    )


Render: TypeAlias = Callable[[WriteRequest, Outcome | ServiceError], Response]


@dataclass(frozen=True, slots=True)
class WriteProtocol:
    """One way to send samples.

    paths: as senders are set up with them, each served also with a slash at its end.
    check: passes for content types, encodings and parameters the protocol knows, else raises.
    unpacked_bytes: what the body will unpack to, as far as it says so itself; at most the bound.
    decode: all samples of the request; raises a `WriteError` where nothing of it is taken.
    render: the answer, whatever became of the request; also after an error before `decode`.
    small_bytes: what is decoded in less time than a change of threads takes, once unpacked.
    has_key_in_query: a key may stand in the query (`p`), since its senders can do no better.
    """

    name: str
    paths: tuple[str, ...]
    decode: Callable[[WriteRequest, Bounds], SampleBatch]
    check: Callable[[WriteRequest], None]
    unpacked_bytes: Callable[[WriteRequest], int]
    render: Render = render
    methods: tuple[str, ...] = ("POST",)
    small_bytes: int = 0
    has_key_in_query: bool = False
