"""CSV and Parquet to samples, by the columns that the import names.

A row is one sample for each value column; an empty value is none. Cells are read as text, so that
one bad cell refuses its own sample and no more; Arrow writes numbers so that they come back bit for
bit. CSV is read as Latin-1, in which all bytes are text; its cells get their bytes back.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from data_ingest.chassis.objects import ObjectStoreUnavailable
from data_ingest.errors import BadBody, BodyTooLarge
from data_ingest.imports.options import PER_S, Options, with_extra
from data_ingest.imports.parquet import ROWS_KEY, STORE_FAILED
from data_ingest.imports.pieces import Decoded, Fault, Piece, Upload, decoded
from data_ingest.imports.text import labels_of
from data_ingest.model import F64, I64, NAN_BITS, RawLabels

Bool = npt.NDArray[np.bool_]

CSV_BLOCK_BYTES: Final = 4 << 20
PARQUET_MEMORY_BYTES_MAX: Final = 1 << 30
LABEL_BYTES_MAX: Final = 64 << 20
_INTEGER: Final = r"^\s*-?[0-8]?[0-9]{1,18}\s*$"
_NUMBER: Final = (
    r"^\s*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))\s*$"
)
_SECONDS_MAX: Final = 2**53 // 1000


def csv_pieces(upload: Upload, options: Options) -> Iterator[Piece]:
    """Rows with as many cells as the header; the others are faults."""
    unreadable: list[Fault] = []

    def note(row: Any) -> str:
        why = f"{row.actual_columns} cells, the header has {row.expected_columns}"
        text = row.text.encode("latin1").decode(errors="replace")
        unreadable.append(Fault(row.number - 1, why, text[:200]))
        return "skip"

    names = [name.encode().decode("latin1") for name in options.columns]
    reader = pv.open_csv(
        upload,
        pv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES, encoding="latin1"),
        pv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        pv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
        ),
    )
    first_row = 1
    for batch in reader:
        rows, faults = batch.num_rows, []
        while unreadable and unreadable[0].row <= first_row + rows:  # it may have read further
            faults.append(unreadable.pop(0))
            rows += 1
        columns = [_own_bytes(column) for column in batch.columns]
        cells = pa.RecordBatch.from_arrays(columns, names=options.columns)
        yield Piece(first_row, rows, upload.bytes_read, cells, tuple(faults))
        first_row += rows
    if unreadable:
        yield Piece(first_row, len(unreadable), upload.bytes_read, None, tuple(unreadable))


def _own_bytes(column: pa.StringArray) -> pa.BinaryArray:
    """The bytes that cells read as Latin-1 have in the file."""
    if pc.all(pc.string_is_ascii(column)).as_py() is not False:
        return column.cast(pa.binary())
    return pa.array([text.encode("latin1") for text in column.to_pylist()], pa.binary())


def parquet_pieces(url: str, key: str, upload_bytes: int, options: Options) -> Iterator[Piece]:
    """Rows of the named columns, as `imports.parquet` reads them in a process of its own.

    Raises ObjectStoreUnavailable and BadBody, as that process says, also where it was ended.
    """
    request = {
        "url": url,
        "key": key,
        "columns": options.columns,
        "labels": options.label_columns,
        "memory_bytes_max": PARQUET_MEMORY_BYTES_MAX,
    }
    command = [sys.executable, "-m", "data_ingest.imports.parquet"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:  # noqa: S603 - ours
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018 - for the types
        try:
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
            first_row, rows = 1, 0
            # A stream that is cut off: the process says why.
            with contextlib.suppress(pa.ArrowException, OSError):
                stream = pa.ipc.open_stream(process.stdout)
                rows = int(stream.schema.metadata[ROWS_KEY])
                for batch in stream:
                    end = first_row + batch.num_rows
                    bytes_read = upload_bytes * (end - 1) // rows
                    yield Piece(first_row, batch.num_rows, bytes_read, batch)
                    first_row = end
            why = process.stderr.read(1000).decode(errors="replace").strip()
            code = process.wait()
        finally:
            process.kill()
    if code == STORE_FAILED:
        raise ObjectStoreUnavailable(detail=why)
    if code or first_row != rows + 1:
        raise BadBody(detail=f"it is not parquet: {why or f'its reader ended with {code}'}")


def decode_table(piece: Piece, options: Options) -> Decoded:
    """One sample for each row and value column; what cannot be read is a fault."""
    batch, faults = piece.data, list(piece.faults)
    all_rows = np.arange(piece.first_row, piece.first_row + piece.rows)
    rows = np.setdiff1d(all_rows, [fault.row for fault in faults])
    if not rows.size:
        return decoded([], rows, rows, np.empty(0), faults)
    time = batch.column(options.time_column)
    times, has_time = _times(time, options.time_format)
    _note(faults, rows, ~has_time, time, f"{options.time_column} is not a time")
    codes, labels, has_labels = _series(batch, options, rows, faults)
    usable = has_time & has_labels[codes]
    parts: list[tuple[I64, I64, F64]] = []
    series: list[RawLabels] = []
    for column, name in options.values.items():
        text = _as_text(batch.column(column))
        is_number = _matches(text, _NUMBER)
        values = _cast(text, is_number, pa.float64())
        values.view(np.uint64)[np.isnan(values)] = NAN_BITS
        is_bad = usable & ~is_number & _matches(text, r"\S")
        _note(faults, rows, is_bad, text, f"{column} is not a number")
        chosen = usable & is_number
        parts.append((codes[chosen] + len(series), times[chosen], values[chosen]))
        series += [_named(one, name, column, options) for one in labels]
    series_of, times, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return decoded(series, series_of, times, values, faults)


def _named(labels: RawLabels, name: str, column: str, options: Options) -> RawLabels:
    """With the metric's name: that of the value column, the row's own, or the column's."""
    if not name and (options.labels_column or "__name__" in options.labels.values()):
        return labels
    others = [label for label in labels if label[0] != b"__name__"]
    return with_extra([(b"__name__", (name or column).encode()), *others], options)


def _series(
    batch: Any, options: Options, rows: I64, faults: list[Fault]
) -> tuple[I64, list[RawLabels], Bool]:
    """(n,) the series of each row; of each series its labels, and whether they can be read."""
    codes = np.zeros(batch.num_rows, np.int64)
    for name in options.label_columns:
        column = batch.column(name)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        codes = np.unique(codes * (len(encoded.dictionary) + 1) + indices, return_inverse=True)[1]
    _, firsts = np.unique(codes, return_index=True)
    labels: list[RawLabels] = []
    is_readable = np.ones(firsts.size, bool)
    label_bytes = 0
    for code, first in enumerate(firsts.tolist()):
        try:
            labels.append(_labels(batch, first, options))
        except (ValueError, OverflowError) as error:
            faults += [Fault(row, str(error)) for row in rows[codes == code].tolist()]
            labels.append([])
            is_readable[code] = False
        label_bytes += sum(len(text) for pair in labels[-1] for text in pair)
        if label_bytes > LABEL_BYTES_MAX:
            raise BodyTooLarge(detail=f"labels of {rows.size} rows", limit=LABEL_BYTES_MAX)
    return codes, labels, is_readable


def _labels(batch: Any, row: int, options: Options) -> RawLabels:
    def cell(column: str) -> bytes:
        value = batch.column(column)[row].as_py()
        if isinstance(value, bytes):
            return value
        return b"" if value is None else str(value).encode()

    labels: RawLabels = []
    if options.labels_column:
        labels = labels_of(json.loads(cell(options.labels_column)), options)
    named = [(name.encode(), cell(column)) for column, name in options.labels.items()]
    return with_extra([*labels, *named], options)


def _times(column: Any, time_format: str) -> tuple[I64, Bool]:
    """(n,) each: ms since the epoch, and which of them are times."""
    if pa.types.is_timestamp(column.type):
        in_ms = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
        is_time = column.is_valid().to_numpy(zero_copy_only=False)
        return in_ms.fill_null(0).to_numpy(zero_copy_only=False), is_time
    text = _as_text(column)
    if time_format not in PER_S:
        return _parsed(text, time_format)
    is_whole, is_number = _matches(text, _INTEGER), _matches(text, _NUMBER)
    whole, real = _cast(text, is_whole, pa.int64()), _cast(text, is_number, pa.float64())
    per_s = PER_S[time_format]
    is_time = is_number & (np.abs(real) / per_s < _SECONDS_MAX)
    rounded = np.rint(np.where(is_time, real, 0.0) * (1000 / per_s)).astype(np.int64)
    in_ms = whole * 1000 if per_s == 1 else whole // (per_s // 1000)
    return np.where(is_whole, in_ms, rounded), is_time


def _parsed(column: Any, time_format: str) -> tuple[I64, Bool]:
    times, is_time = np.zeros(len(column), np.int64), np.zeros(len(column), bool)
    for i, cell in enumerate(column.to_pylist()):
        try:
            text = cell.decode()
            at = (
                datetime.fromisoformat(text)
                if time_format == "rfc3339"
                else datetime.strptime(text, time_format)  # noqa: DTZ007 - UTC without a zone
            )
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            times[i], is_time[i] = round(at.timestamp() * 1000), True
        except (AttributeError, ValueError, OverflowError):  # null, or no such time
            continue
    return times, is_time


def _as_text(column: Any) -> pa.BinaryArray:
    """Numbers as they are written, and text as its bytes, which need not be UTF-8."""
    try:
        if not pa.types.is_binary(column.type):
            column = column.cast(pa.string()).cast(pa.binary())
    except pa.ArrowException as exc:
        raise BadBody(detail=f"a column of type {column.type} is no numbers or text") from exc
    return column


def _matches(column: Any, pattern: str) -> Bool:
    matches = pc.match_substring_regex(column, pattern=pattern).fill_null(False)
    result: Bool = matches.to_numpy(zero_copy_only=False)
    return result


def _cast(column: Any, chosen: Bool, kind: pa.DataType) -> Any:
    """The chosen texts as numbers; 0 in place of the others."""
    numbers = np.zeros(len(column), kind.to_pandas_dtype())
    texts = pc.utf8_trim_whitespace(column.filter(pa.array(chosen)).cast(pa.string()))
    numbers[chosen] = texts.cast(kind).to_numpy(zero_copy_only=False)
    return numbers


def _note(faults: list[Fault], rows: I64, is_bad: Bool, column: Any, why: str) -> None:
    texts = _as_text(column.filter(pa.array(is_bad))).to_pylist()
    for row, text in zip(rows[is_bad].tolist(), texts, strict=True):
        faults.append(Fault(row, why, (text or b"").decode(errors="replace")))
