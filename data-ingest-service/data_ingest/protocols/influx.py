r"""Influx line protocol, as InfluxDB 1.x (`/write`) and 2.x (`/api/v2/write`) take it.

    cpu,host=a usage_user=1.5,usage_system=2i 1700000000000000000      db=telegraf
      ─▶  cpu_usage_user{host="a", db="telegraf"} 1.5      cpu_usage_system{…} 2

A line with k numbers is k samples. Strings are no samples: they are skipped and counted. A line
that cannot be read is refused alone and counts once, as nobody knows how many samples it was.
Source: docs.influxdata.com, "Line protocol"; Telegraf `outputs.influxdb`, `outputs.influxdb_v2`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from data_ingest.errors import BodyTooLarge, InvalidLabels, WriteError
from data_ingest.kernels import influx as kernel
from data_ingest.kernels import influx_values as fault
from data_ingest.kernels.hashing import SPARE_BYTES, seed_for
from data_ingest.model import I64, RawLabels, SampleBatch
from data_ingest.protocols import compression, influx_answers
from data_ingest.protocols.names import joined, label_name, metric_name
from data_ingest.protocols.protocol import Bounds, LabelBudget, Render, WriteProtocol, WriteRequest

MALFORMED_LINE: Final = "malformed_line"
STRING_FIELD: Final = "string_field"
SMALL_BYTES: Final = 48 * 1024
"""About 1,300 values of ten a line; of one a line, 300."""

Scale = tuple[int, int]
"""A timestamp × the first // the second is in milliseconds."""

V2_PRECISIONS: Final[Mapping[str, Scale]] = {
    "": (1, 1_000_000),
    "ns": (1, 1_000_000),
    "us": (1, 1_000),
    "ms": (1, 1),
    "s": (1_000, 1),
}
V1_PRECISIONS: Final[Mapping[str, Scale]] = {
    **V2_PRECISIONS,
    "n": (1, 1_000_000),
    "u": (1, 1_000),
    "µ": (1, 1_000),
    "m": (60_000, 1),
    "h": (3_600_000, 1),
}
_FAULTS: Final = {
    fault.NO_MEASUREMENT: "missing measurement",
    fault.NO_FIELDS: "missing fields",
    fault.NO_FIELD_KEY: "missing field key",
    fault.NO_FIELD_VALUE: "missing field value",
    fault.BAD_VALUE: "not a number, boolean or string",
    fault.BAD_NUMBER: "invalid number",
    fault.TOO_LARGE: "the number is too large for its type",
    fault.OPEN_QUOTE: "unbalanced quotes",
    fault.BAD_TIMESTAMP: "bad timestamp",
    fault.LONG_KEY: f"measurement, tags and field key are over {kernel.KEY_BYTES_MAX} bytes",
}
_QUOTED_BYTES: Final = 100
_LABELS_MAX: Final = 1024

_SPACE: Final = re.compile(rb"(?<!\\) ")
_COMMA: Final = re.compile(rb"(?<!\\),")
_EQUALS: Final = re.compile(rb"(?<!\\)=")
_MEASUREMENT_ESCAPE: Final = re.compile(rb"\\([, ])")
_ESCAPE: Final = re.compile(rb"\\([,= ])")
_NUMBER: Final = re.compile(rb"[-+.0-9eE]+")


@dataclass(frozen=True, slots=True)
class Naming:
    """How measurements, tags and fields become labels; `settings` says why.

    has_db_label: the request's `db` or `bucket` is the label `db`, unless a tag has that name.
    is_value_bare: the field `value` of `cpu` is the metric `cpu`, not `cpu_value`.
    is_utf8: names stay as they are; else what Prometheus' first names could not hold becomes `_`.
    """

    has_db_label: bool = True
    is_value_bare: bool = False
    is_utf8: bool = False

    def metric(self, measurement: bytes, field_key: bytes) -> bytes:
        """The metric name of one field; both are unescaped."""
        is_bare = self.is_value_bare and field_key == b"value"
        name = measurement if is_bare else measurement + b"_" + field_key
        return name if self.is_utf8 else metric_name(name)

    def label(self, tag: bytes) -> bytes:
        """The label name of one unescaped tag key."""
        return tag if self.is_utf8 else label_name(tag)


def check(precisions: Mapping[str, Scale], request: WriteRequest) -> None:
    """Passes for encodings and precisions that are known; any content type may hold lines.

    (`curl --data-binary` says that it sends a form.)
    """
    compression.check(request)
    precision = request.query.get("precision", "")
    if precision not in precisions:
        names = ", ".join(name for name in precisions if name)
        raise WriteError(detail=f"precision {precision[:20]!r} is none of {names}")


def decode(
    naming: Naming, precisions: Mapping[str, Scale], request: WriteRequest, bounds: Bounds
) -> SampleBatch:
    """Every number of every line that can be read, in order; raises what `decompressed` raises.

    A field that stands twice in a line is two samples of one time, of which the store keeps the
    last. A line without a timestamp has the time of the request.
    """
    body = compression.decompressed(request, bounds.decoded_bytes_max)
    text = b"".join((body, b"\n", bytes(SPARE_BYTES)))
    buf = np.frombuffer(text, np.uint8)
    # Each field has an equals sign of its own.
    room = min(kernel.count_byte(buf, ord("=")), bounds.samples_max)
    db = request.query.get("db") or request.query.get("bucket") or ""
    db_label = db.encode(errors="replace") if naming.has_db_label else b""
    keys = np.empty((room, 2), np.uint64)
    rows = np.empty((room, kernel.ROW_COLUMNS), np.int64)
    timestamps_ms, values = np.empty(room, np.int64), np.empty(room, np.float64)
    counts = np.zeros(kernel.COUNTS, np.int64)
    multiplier, divisor = precisions[request.query.get("precision", "")]
    status = kernel.walk(
        buf,
        len(body) + 1,
        seed_for(b"influx " + db_label),
        multiplier,
        divisor,
        request.received_ms,
        keys,
        rows,
        timestamps_ms,
        values,
        counts,
    )
    if status == fault.FULL:
        raise BodyTooLarge(detail="too many samples in one request", limit=bounds.samples_max)
    n, bad_lines = int(counts[kernel.SAMPLES]), int(counts[kernel.BAD_LINES])
    if counts[kernel.HARD_VALUES]:
        _read_hard_values(text, rows[:n], values)
    strings = int(counts[kernel.STRINGS])
    return SampleBatch(
        keys=keys[:n],
        series_of=np.arange(n),
        timestamps_ms=timestamps_ms[:n],
        values=values[:n],
        labels_at=_Lines(text, rows, naming, db_label).labels_at,
        refused={MALFORMED_LINE: bad_lines} if bad_lines else {},
        skipped={STRING_FIELD: strings} if strings else {},
        first_error=_first_error(body, counts) if bad_lines else "",
    )


def _read_hard_values(text: bytes, rows: I64, values: np.ndarray) -> None:
    """`values` also has the numbers so near to a tie of two floats that all digits count."""
    for row in np.flatnonzero(rows[:, kernel.HARD]).tolist():
        number = _NUMBER.match(text, int(rows[row, kernel.HARD]))
        assert number is not None
        values[row] = float(number[0])


def _first_error(body: bytes, counts: I64) -> str:
    start, offset = int(counts[kernel.FIRST_LINE]), int(counts[kernel.FIRST_OFFSET])
    end = body.find(b"\n", start)
    quoted = _quoted(body[start : end if end >= 0 else len(body)].rstrip(b"\r"))
    why = _FAULTS[int(counts[kernel.FIRST_FAULT])]
    number = body.count(b"\n", 0, start) + 1
    return f"unable to parse {quoted}: {why} (line {number}, byte {offset})"


def _quoted(line: bytes) -> str:
    shown = line[:_QUOTED_BYTES].decode(errors="replace")
    return repr(shown + ("…" if len(line) > _QUOTED_BYTES else ""))


@dataclass(slots=True)
class _Lines:
    """The labels of each row, read from its line; its tags are read once for all its fields."""

    text: bytes
    rows: I64
    naming: Naming
    db: bytes
    head_start: int = -1
    measurement: bytes = b""
    tags: RawLabels = field(default_factory=list)
    refusal: str = ""
    budget: LabelBudget = field(default_factory=LabelBudget)

    def labels_at(self, row: int) -> RawLabels:
        """As `SampleBatch.labels_at`."""
        head_start, field_start = self.rows[row, : kernel.FIELD + 1].tolist()
        if head_start != self.head_start:
            self.read_head(head_start)
        if self.refusal:
            raise InvalidLabels(detail=self.refusal)
        equals = _EQUALS.search(self.text, field_start)
        assert equals is not None
        field_key = _ESCAPE.sub(rb"\1", self.text[field_start : equals.start()])
        name = self.naming.metric(self.measurement, field_key)
        return self.budget.spend([(b"__name__", name), *self.tags])

    def read_head(self, start: int) -> None:
        """Measurement and tags, or the refusal, are those of the line that begins at `start`."""
        end = _SPACE.search(self.text, start)
        assert end is not None
        head = self.text[start : end.start()]
        self.head_start, self.refusal = start, ""
        if head.count(b",") > _LABELS_MAX:
            self.refusal = f"over {_LABELS_MAX} tags"
            return
        measurement, *tags = _COMMA.split(head)
        self.measurement = _MEASUREMENT_ESCAPE.sub(rb"\1", measurement)
        try:
            pairs = _tags(tags)
        except ValueError as exc:
            self.refusal = f"unable to parse {_quoted(head)}: {exc}"
            return
        labels = joined(pairs, self.naming.label)
        if self.db:
            labels.setdefault(b"db", self.db)
        self.tags = list(labels.items())


def _tags(texts: list[bytes]) -> RawLabels:
    """Key and value of each tag, in the order of the keys; ValueError says what is wrong."""
    pairs = sorted(_tag(text) for text in texts)
    if any(one[0] == other[0] for one, other in pairwise(pairs)):
        raise ValueError("duplicate tags")
    return pairs


def _tag(text: bytes) -> tuple[bytes, bytes]:
    """Key and value of one tag; ValueError says what is wrong with it."""
    if b"\\" in text:
        key, *values = (_ESCAPE.sub(rb"\1", part) for part in _EQUALS.split(text))
    else:
        key, *values = text.split(b"=")
    if not key:
        raise ValueError("missing tag key")
    if not values or not values[0]:
        raise ValueError("missing tag value")
    if len(values) > 1:
        raise ValueError("invalid tag format: a value has an = that is not escaped")
    return key, values[0]


def protocols(naming: Naming) -> tuple[WriteProtocol, WriteProtocol]:
    """Version 1 and version 2."""

    def version(
        name: str, path: str, precisions: Mapping[str, Scale], render: Render
    ) -> WriteProtocol:
        return WriteProtocol(
            name=name,
            paths=(path, f"/influx{path}"),
            decode=partial(decode, naming, precisions),
            check=partial(check, precisions),
            unpacked_bytes=compression.unpacked_bytes,
            render=render,
            small_bytes=SMALL_BYTES,
            has_key_in_query=True,
        )

    return (
        version("influx_v1", "/write", V1_PRECISIONS, influx_answers.render_v1),
        version("influx_v2", "/api/v2/write", V2_PRECISIONS, influx_answers.render_v2),
    )
