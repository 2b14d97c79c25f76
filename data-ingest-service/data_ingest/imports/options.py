"""The parameters of an import: its format, and what the columns of a table are. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from data_ingest.errors import BadBody, UnsupportedBody
from data_ingest.model import RawLabels
from data_ingest.protocols.prometheus_push import extra_labels

FORMAT_OF_TYPE: Final = {
    "application/x-ndjson": "ndjson",
    "application/json": "ndjson",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/openmetrics-text": "openmetrics",
}
FORMATS: Final = ("ndjson", "csv", "parquet", "openmetrics")
TABLES: Final = ("csv", "parquet")
PER_S: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
COLUMN_NAMES: Final = (
    "time_column",
    "time_format",
    "value_column",
    "label_column",
    "labels_column",
)
NAMES: Final = ("format", "dry_run", "extra_label", *COLUMN_NAMES)
COLUMNS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Options:
    """An import's own labels, and of a table which columns are what.

    time_format: a unit of PER_S since the epoch, `rfc3339`, or a format of `strptime` (UTC).
    values: the metric's name by column, "" for that of the row's labels, or the column's.
    labels: the label's name by column. labels_column: JSON objects of all labels, "" for none.
    """

    format: str
    is_dry_run: bool
    extra_labels: RawLabels
    time_column: str
    time_format: str
    values: Mapping[str, str]
    labels: Mapping[str, str]
    labels_column: str

    @property
    def label_columns(self) -> list[str]:
        """The columns that tell one series from another."""
        return list(dict.fromkeys([*filter(None, [self.labels_column]), *self.labels]))

    @property
    def columns(self) -> list[str]:
        """All columns that are read, each once."""
        return list(dict.fromkeys([self.time_column, *self.values, *self.label_columns]))


def with_extra(labels: RawLabels, options: Options) -> RawLabels:
    """The labels, with those of the import in place of their own of these names."""
    if not options.extra_labels:
        return labels
    names = {name for name, _ in options.extra_labels}
    return [*(label for label in labels if label[0] not in names), *options.extra_labels]


def parse(query: str, content_type: str) -> Options:
    """The options of a query string; BadBody for what cannot be one, UnsupportedBody for a format.

    Without columns a table is what das exports: `metric` (JSON), `timestamp_ms`, `value`.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in NAMES:
            raise BadBody(detail=f"no parameter {name[:100]!r}; there are {', '.join(NAMES)}")
    given = dict(pairs)
    media = content_type.partition(";")[0].strip().lower()
    kind = given.get("format") or FORMAT_OF_TYPE.get(media, "")
    if kind not in FORMATS:
        raise UnsupportedBody(
            detail=f"format {kind[:100]!r}, Content-Type {media[:100]!r}; give format="
            + " or ".join(FORMATS)
        )
    columns = [name for name in COLUMN_NAMES if name in given]
    if columns and kind not in TABLES:
        raise BadBody(detail=f"{columns[0]} is of csv and parquet, not of {kind}")
    if given.get("dry_run", "false") not in {"true", "false"}:
        raise BadBody(detail=f"dry_run is true or false, not {given['dry_run'][:100]!r}")
    time_format = given.get("time_format", "ms")
    if time_format not in {*PER_S, "rfc3339"} and "%" not in time_format:
        raise BadBody(detail=f"time_format is {', '.join(PER_S)}, rfc3339 or a strptime format")
    is_own = not {"value_column", "label_column", "labels_column"} & set(columns)
    options = Options(
        kind,
        given.get("dry_run") == "true",
        extra_labels(query),
        given.get("time_column", "timestamp_ms"),
        time_format,
        _renamed(pairs, "value_column") or {"value": ""},
        {column: name or column for column, name in _renamed(pairs, "label_column").items()},
        given.get("labels_column", "metric" if is_own else ""),
    )
    if len(options.columns) > COLUMNS_MAX:
        raise BadBody(detail="too many columns", columns=len(options.columns), limit=COLUMNS_MAX)
    return options


def _renamed(pairs: list[tuple[str, str]], parameter: str) -> dict[str, str]:
    """`COLUMN` or `COLUMN=NAME` of each parameter of this name; "" where there is no name."""
    texts = [text.partition("=") for name, text in pairs if name == parameter]
    return {column: name for column, _, name in texts if column}
