"""Files to samples: what an export holds comes back; what cannot be read is named by its row."""

import contextlib
import gzip
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cramjam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ingest.chassis.objects import ObjectStoreUnavailable
from data_ingest.errors import BadBody, BodyTooLarge, WriteError
from data_ingest.imports import pieces, tables, text, worker
from data_ingest.imports.options import parse
from data_ingest.imports.pieces import Decoded, Piece, Upload
from data_ingest.model import NAN_BITS
from tests import exports
from tests.stored_values import STALE_BITS, bits_of

T = 1_700_000_000_000
NDJSON = parse("", "application/x-ndjson")
CSV = parse("", "text/csv")
OPENMETRICS = parse("", "application/openmetrics-text")

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.one_of(st.floats(allow_nan=False).map(bits_of), st.sampled_from([STALE_BITS, NAN_BITS]))
sample_lists = st.lists(st.tuples(st.integers(-(10**14), 10**14), values), min_size=1, max_size=8)
series_lists = st.lists(
    st.tuples(st.dictionaries(texts, texts, min_size=1, max_size=4), sample_lists), max_size=5
)

Sample = tuple[frozenset[tuple[str, str]], int, int]


def upload(data: bytes) -> Upload:
    return Upload(pa.BufferReader(data))


def samples(decoded: Decoded) -> list[Sample]:
    batch = decoded.batch
    labels = [
        frozenset((name.decode(), value.decode()) for name, value in batch.labels_at(row))
        for row in range(len(batch.keys))
    ]
    return [
        (labels[row], at, bits)
        for row, at, bits in zip(
            batch.series_of.tolist(),
            batch.timestamps_ms.tolist(),
            batch.values.view(np.uint64).tolist(),
            strict=True,
        )
    ]


def expected(series: list[exports.Series]) -> list[Sample]:
    return [(frozenset(labels.items()), at, bits) for labels, them in series for at, bits in them]


def of_text(data: bytes, piece_bytes: int = 1 << 20) -> list[Sample]:
    read = list(pieces.lines(upload(data), piece_bytes))
    assert [one.first_row for one in read[1:]] == [one.first_row + one.rows for one in read[:-1]]
    return [one for piece in read for one in samples(text.decode_ndjson(piece, NDJSON))]


def of_csv(data: bytes, query: str = "") -> tuple[list[Sample], list[tuple[int, str]]]:
    options = parse(query, "text/csv")
    decoded = [
        tables.decode_table(one, options) for one in tables.csv_pieces(upload(data), options)
    ]
    faults = [(fault.row, fault.why) for one in decoded for fault in one.faults]
    return [sample for one in decoded for sample in samples(one)], sorted(faults)


def of_parquet(table: pa.Table, query: str = "") -> list[Decoded]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        pq.write_table(table, path)
        options = parse(query, "application/vnd.apache.parquet")
        size = path.stat().st_size
        read = list(tables.parquet_pieces(f"file://{folder}", "key", size, options))
    assert read[-1].bytes_read == size
    return [tables.decode_table(piece, options) for piece in read]


@given(series=series_lists, piece_bytes=st.integers(1, 300), packing=st.sampled_from("-gz"))
def test_an_ndjson_export_comes_back(series, piece_bytes, packing):
    """Every sample of an export, bit for bit, however it is cut into pieces and packed."""
    data = exports.ndjson(series)
    packed = {
        "-": data,
        "g": gzip.compress(data),
        "z": bytes(cramjam.zstd.compress(data)),
    }[packing]
    assert of_text(packed, piece_bytes) == expected(series)


@given(series=series_lists)
def test_a_csv_export_comes_back(series):
    """Every sample; CSV has one word for NaN and stale markers, so both are NaN."""
    result, faults = of_csv(exports.csv(series))
    nan = {STALE_BITS: NAN_BITS}
    assert result == [(labels, at, nan.get(bits, bits)) for labels, at, bits in expected(series)]
    assert faults == []


@settings(max_examples=3)
@given(series=st.lists(st.tuples(st.just({"a": "é"}), sample_lists), min_size=20, max_size=20))
def test_parquet_comes_back(series):
    """Numbers of Parquet pass through text and keep their bits."""
    flat = [(labels, at, bits) for labels, them in series for at, bits in them]
    table = pa.table(
        {
            "metric": pa.array([json.dumps(labels) for labels, _, _ in flat], pa.string()),
            "timestamp_ms": pa.array([at for _, at, _ in flat], pa.int64()),
            "value": pa.array([exports.value_of(bits) for _, _, bits in flat], pa.float64()),
        }
    )
    result = [sample for one in of_parquet(table) for sample in samples(one)]
    nan = {STALE_BITS: NAN_BITS}
    assert result == [(labels, at, nan.get(bits, bits)) for labels, at, bits in expected(series)]


@given(
    data=st.binary(max_size=300), start=st.sampled_from([b"", b"PAR1", b"\x1f\x8b", b"{", b"a,b\n"])
)
@pytest.mark.parametrize("kind", ["ndjson", "csv", "openmetrics"])
def test_any_bytes_are_read_or_refused(kind, data, start):
    """Nonsense is samples, faults, or an error that ends the import; never anything else."""
    objects = SimpleNamespace(reading=lambda _: pa.BufferReader(start + data))
    hub: Any = SimpleNamespace(objects=objects)
    job: Any = SimpleNamespace(object_key="")
    options = parse(f"format={kind}", "")
    with contextlib.suppress(WriteError):
        for piece in worker._pieces(hub, job, options):
            decoded = worker._decoded(piece, options)
            assert all(
                piece.first_row <= f.row < piece.first_row + piece.rows for f in decoded.faults
            )


LINE = b'{"metric":{"a":"1"},"values":[1],"timestamps":[%d]}' % T


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"rubbish", "Expecting value"),
        (b'{"metric":{"a":"1"},"values":[1]}', "not an object"),
        (LINE + b"x", "Extra data"),
        (b"[1]", "not an object"),
        (b'{"metric":{"a":1},"values":[1],"timestamps":[1]}', "labels are an object of texts"),
        (b'{"metric":["a"],"values":[1],"timestamps":[1]}', "labels are an object of texts"),
        (
            b'{"metric":{"a":"1"},"values":[1,2],"timestamps":[1]}',
            "values and timestamps are not lists of one length",
        ),
        (b'{"metric":{"a":"1"},"values":["x"],"timestamps":[1]}', '"x" is no value'),
        (b'{"metric":{"a":"1"},"values":["1],"timestamps":[1]}', "Expecting"),
        (b'{"metric":{"a":"1"},"values":[,1],"timestamps":[1,2]}', "Expecting value"),
        (b'{"metric":{"a":"1"},"values":[1 2],"timestamps":[1]}', "Expecting"),
        (b'{"metric":{"a":"1"},"values":[1],"timestamps":[1.5]}', "timestamps are whole"),
        (b'{"metric":{"a":"1"},"values":[1],"timestamps":[null]}', "timestamps are whole"),
        (
            b'{"metric":{"a":"1"},"values":[1],"timestamps":[99999999999999999999]}',
            "a timestamp is too large",
        ),
        (b'{"metric":{"a":"1"},"values":[NaN],"timestamps":[1]}', "NaN is no JSON"),
        (b'{"metric":{"a":"1"},"values":[1e999],"timestamps":[1]}', "a value is too large"),
        (b'{"metric":{"a":"1"},"values":[[1]],"timestamps":[1]}', "[1.0] is no value"),
        (b'{"metric":{"a":"1"},"values":[true],"timestamps":[1]}', "true is no value"),
        (b'{"metric":{"a":"1"},"values":{},"timestamps":[]}', "values and timestamps are not"),
        (b'{"metric":{"a":"\xff"},"values":[1],"timestamps":[1]}', "'utf-8' codec"),
        (b"[" * 100_000, "maximum recursion"),
    ],
)
def test_a_bad_line_is_named(line, why):
    """One line that cannot be read is one fault, with its number; its neighbours are stored."""
    (piece,) = pieces.lines(upload(b"\n".join([LINE, line, LINE, b""])))
    decoded = text.decode_ndjson(piece, NDJSON)
    (fault,) = decoded.faults
    assert fault.row == 2
    assert fault.why.startswith(why)
    assert decoded.batch.timestamps_ms.tolist() == [T, T]
    assert decoded.batch.refused == {"malformed_row": 1}


def test_a_line_has_a_bound(monkeypatch):
    """A line over the bound is a fault and is not kept in memory; the next ones are read."""
    monkeypatch.setattr(pieces, "LINE_BYTES_MAX", 1000)
    read = list(pieces.lines(upload(b"x" * 5000 + b"\n" + LINE + b"\n"), 64))
    assert [fault.row for one in read for fault in one.faults] == [1]
    assert [(one.first_row, one.data) for one in read if one.data] == [(2, LINE + b"\n")]


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: bytes(cramjam.zstd.compress(data))])
def test_a_bomb_is_refused(pack):
    """What unpacks to over 100 times its size ends the import before it is unpacked."""
    bomb = upload(pack(bytes(200 << 20)))
    with pytest.raises(BodyTooLarge, match="100 times"):
        for _ in pieces.lines(bomb):
            pass
    assert bomb.tell() < 30 << 20


def test_columns_of_csv():
    """Times in any unit or as RFC 3339, several values a row, labels by their own names."""
    data = (
        b"when,host,cpu,mem\n2023-11-14T22:13:20Z,a,1,\n2023-11-14T23:13:20.5+01:00,b,x,+Inf\nnever,c,1,1\n"
        b"1,2\n2023-11-14 22:13:20,d, 2 ,3,4\n2023-11-14 22:13:20,d, 2 ,1e3\n"
    )
    query = "time_column=when&time_format=rfc3339&value_column=cpu=cpu_usage&value_column=mem"
    result, faults = of_csv(data, query + "&label_column=host=instance&extra_label=job=j")

    def series(name: str, host: str) -> frozenset[tuple[str, str]]:
        return frozenset({("__name__", name), ("instance", host), ("job", "j")})

    assert sorted(result, key=str) == sorted(
        [
            (series("cpu_usage", "a"), T, bits_of(1.0)),
            (series("mem", "b"), T + 500, bits_of(float("inf"))),
            (series("cpu_usage", "d"), T, bits_of(2.0)),
            (series("mem", "d"), T, bits_of(1000.0)),
        ],
        key=str,
    )
    assert faults == [
        (2, "cpu is not a number"),
        (3, "when is not a time"),
        (4, "2 cells, the header has 4"),
        (5, "5 cells, the header has 4"),
    ]


@pytest.mark.parametrize(
    ("unit", "shown", "at_ms"),
    [
        ("s", "1700000000", T),
        ("s", "1700000000.25", T + 250),
        ("ms", "1700000000123", T + 123),
        ("us", "1700000000123999", T + 123),
        ("ns", "1700000000123999999", T + 123),
        ("%d.%m.%Y %H:%M", "14.11.2023 22:13", T - 20_000),
        ("ms", "99999999999999999999", None),
        ("s", "nan", None),
    ],
)
def test_times_of_csv(unit, shown, at_ms):
    """A time counts in its unit, what is below a millisecond is cut off; others are faults."""
    query = f"time_column=t&time_format={unit}&value_column=v&label_column=n=__name__"
    result, faults = of_csv(f"n,t,v\nup,{shown},1\n".encode(), query.replace("%", "%25"))
    assert [at for _, at, _ in result] == ([] if at_ms is None else [at_ms])
    assert [why for _, why in faults] == (["t is not a time"] if at_ms is None else [])


def test_rows_of_long_csv_keep_their_numbers(monkeypatch):
    """A fault has its row's number, also after many blocks and rows that were left out before."""
    monkeypatch.setattr(tables, "CSV_BLOCK_BYTES", 512)
    lines = ["t,v"] + [f"{T + i},{i}" for i in range(1, 501)]
    for row in (7, 8, 200, 500):
        lines[row] = "x"
    lines[400] = f"{T},abc"
    result, faults = of_csv("\n".join(lines).encode() + b"\n", "time_column=t&value_column=v")
    assert [row for row, _ in faults] == [7, 8, 200, 400, 500]
    assert [at - T for _, at, _ in result] == [
        i for i in range(1, 501) if i not in (7, 8, 200, 400, 500)
    ]


def test_types_of_parquet():
    """Timestamps need no unit, nulls are no samples, dictionaries and whole numbers are labels."""
    table = pa.table(
        {
            "when": pa.array([T * 1000 + 999, T * 1000, None], pa.timestamp("us", "UTC")),
            "host": pa.array(["a", "b", "a"]).dictionary_encode(),
            "core": pa.array([0, 1, 2], pa.int8()),
            "cpu": pa.array([0.1, float("nan"), 3.0], pa.float64()),
            "n": pa.array([None, 2**53, 1], pa.int64()),
        }
    )
    query = "time_column=when&value_column=cpu&value_column=n&label_column=host&label_column=core"
    (decoded,) = of_parquet(table, query)
    result = {
        (dict(labels)["__name__"], dict(labels)["core"]): (at, bits)
        for labels, at, bits in samples(decoded)
    }
    assert result == {
        ("cpu", "0"): (T, bits_of(0.1)),
        ("cpu", "1"): (T, NAN_BITS),
        ("n", "1"): (T, bits_of(2.0**53)),
    }
    assert [(fault.row, fault.why) for fault in decoded.faults] == [(3, "when is not a time")]


def test_text_of_parquet_need_not_be_utf8():
    """Bytes stay what they are: such a number or label refuses its own row and no other."""
    no_text = pa.array([b"\xff", b"1", "\u00fc".encode(), b"2"])
    sizes, cells = np.array([0, 1, 2, 4, 5], np.int32).tobytes(), b"\xff1\xc3\xbc2"
    named_text = pa.Array.from_buffers(pa.string(), 4, [None, *map(pa.py_buffer, (sizes, cells))])
    late = pa.array([2**62, 0, 0, 2**62], pa.timestamp("us"))
    for column in (no_text, named_text):
        table = pa.table({"t": ["5"] * 4, "v": column, "l": column, "late": late})
        (decoded,) = of_parquet(table, "time_column=t&value_column=v")
        assert [fault.row for fault in decoded.faults] == [1, 3]
        assert decoded.batch.values.tolist() == [1.0, 2.0]
        (decoded,) = of_parquet(table, "time_column=t&value_column=t&label_column=l")
        read = {dict(decoded.batch.labels_at(row)).get(b"l") for row in range(4)}
        assert b"\xc3\xbc" in read
        (decoded,) = of_parquet(table, "time_column=t&value_column=t&label_column=late")
        assert [fault.row for fault in decoded.faults] == [1, 4]


def test_parquet_that_cannot_be_read(tmp_path):
    """A missing column, a block of the store and no upload are told apart, with their reasons."""
    table = pa.table({"metric": ["{}"], "timestamp_ms": [1], "value": ["x"]})
    with pytest.raises(BadBody, match="no column 'v'; there are"):
        of_parquet(table, "value_column=v")
    with pytest.raises(BadBody, match="ids and no labels"):
        of_parquet(table.replace_schema_metadata({"cloudopshub.format": "block/1"}))
    with pytest.raises(ObjectStoreUnavailable, match="key"):
        list(tables.parquet_pieces(f"file://{tmp_path}", "key", 1, parse("format=parquet", "")))


def test_parquet_has_a_bound_of_memory(monkeypatch, tmp_path):
    """A file that unpacks to more than its reader may hold ends the reader and the import alone."""
    monkeypatch.setattr(tables, "PARQUET_MEMORY_BYTES_MAX", 300 << 20)
    table = pa.table({"metric": ["{}"], "timestamp_ms": [1], "value": ["0" * (32 << 20)]})
    how = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(tmp_path / "key", table.schema, **how) as writer:
        for _ in range(12):
            writer.write_table(table)
    assert (tmp_path / "key").stat().st_size < 1 << 20
    with pytest.raises(BadBody, match="it is not parquet"):
        list(tables.parquet_pieces(f"file://{tmp_path}", "key", 1, parse("format=parquet", "")))


def test_openmetrics():
    """What promtool dumps: values at their times; a bad line is a fault; dumps may be joined."""
    data = (
        b'a{x="1"} 1 1.5\nb{le="1"} +Inf 2\nnonsense\na{x="1"} 2 2.5\na 3\n# EOF\na NaN 3\n# EOF\n'
    )
    read = list(pieces.lines(upload(data), 10))
    decoded = [text.decode_openmetrics(piece, OPENMETRICS) for piece in read]
    result = [(dict(labels), at, bits) for one in decoded for labels, at, bits in samples(one)]
    assert result == [
        ({"__name__": "a", "x": "1"}, 1500, bits_of(1.0)),
        ({"__name__": "b", "le": "1"}, 2000, bits_of(float("inf"))),
        ({"__name__": "a", "x": "1"}, 2500, bits_of(2.0)),
        ({"__name__": "a"}, 3000, NAN_BITS),
    ]
    faults = [(fault.row, fault.why) for one in decoded for fault in one.faults]
    assert faults == [(3, "expected a value"), (5, "no timestamp")]


def test_one_bad_line_of_many():
    """The lines around it are read as they stand, in their order."""
    lines = [b"a %d %d" % (i, i) for i in range(1000)]
    lines[600] = b"broken {"
    piece = Piece(1, 1000, 0, b"\n".join(lines) + b"\n")
    decoded = text.decode_openmetrics(piece, OPENMETRICS)
    assert decoded.batch.values.tolist() == [i for i in range(1000) if i != 600]
    assert [fault.row for fault in decoded.faults] == [601]


@pytest.mark.parametrize(
    ("query", "content_type", "why"),
    [
        ("", "text/plain", "give format="),
        ("format=arrow", "", "format 'arrow'"),
        ("dryrun=true", "text/csv", "no parameter 'dryrun'"),
        ("dry_run=yes", "text/csv", "dry_run is true or false"),
        ("time_column=t", "application/x-ndjson", "of csv and parquet"),
        ("time_format=minutes", "text/csv", "time_format is s, ms, us, ns, rfc3339"),
        ("extra_label=job", "text/csv", "extra_label is name=value"),
        ("&".join(f"label_column=c{i}" for i in range(300)), "text/csv", "too many columns"),
    ],
)
def test_options_that_cannot_be(query, content_type, why):
    """A parameter that is unknown or wrong is refused before the upload, and named."""
    with pytest.raises(WriteError, match=why):
        parse(query, content_type)
