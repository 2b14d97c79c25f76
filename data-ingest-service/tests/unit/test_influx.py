"""Laws of decoding Influx line protocol: what can be read is read, other lines cost themselves."""

import contextlib
import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BodyTooLarge, InvalidLabels, UnsupportedBody, WriteError
from data_ingest.model import SampleBatch
from data_ingest.protocols import influx
from data_ingest.protocols import protocol as protocol_module
from data_ingest.protocols.influx import Naming
from data_ingest.protocols.protocol import Bounds, WriteRequest
from tests import lines

BOUNDS = Bounds(decoded_bytes_max=1 << 20, samples_max=50_000)
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "influx"
DEFAULTS = Naming()
RECEIVED_MS = 1_700_000_000_123
FRAGMENTS = (
    *(b"cpu", b"a", b"=", b"=", b",", b" ", b" ", b"\\", b'"', b"\n", b"\r\n", b"\t", b"#", b"-"),
    *(b"1", b"1.5", b"2i", b"3u", b"t", b"false", b"True", b"e", b".", b"+", b"a=1", b'b="x"'),
    *(b"m v=1 1\n", b",x=y", b"9223372036854775808i", b"18446744073709551615u", b"1e309", b"NaN"),
)

bodies = st.lists(st.sampled_from(FRAGMENTS), max_size=24).map(b"".join)
names = (
    st.text(st.sampled_from('ab9_:- ,="\\é/'), min_size=1, max_size=6)
    .map(str.encode)
    .filter(lambda name: not name.endswith(b"\\"))
)
values = (
    st.floats(allow_nan=False, allow_infinity=False).map(lambda one: (repr(one), one))
    | st.integers(-(2**63), 2**63 - 1).map(lambda one: (f"{one}i", float(one)))
    | st.integers(0, 2**64 - 1).map(lambda one: (f"{one}u", float(one)))
    | st.booleans().map(lambda one: (str(one).lower(), float(one)))
)


def decode(body: bytes, naming: Naming = DEFAULTS, version: int = 1, **query: str) -> SampleBatch:
    request = WriteRequest("/write", {}, query, body=body, received_ms=RECEIVED_MS)
    return influx.protocols(naming)[version - 1].decode(request, BOUNDS)


def labels_of(body: bytes, naming: Naming = DEFAULTS, **query: str) -> dict[bytes, bytes]:
    """Those of the first sample."""
    return dict(decode(body, naming, 1, **query).labels_at(0))


def name_of(body: bytes, naming: Naming = DEFAULTS) -> bytes:
    return labels_of(body, naming)[b"__name__"]


def bits(numbers: list[float]) -> list[int]:
    return list(np.array(numbers, np.float64).view(np.uint64).tolist())


@given(bodies | st.binary(max_size=80))
def test_reads_what_the_twin_reads(body):
    """Rows, values, times and counts of any bytes are those of the slow decoder."""
    batch, expected = decode(body, precision="ms"), lines.decode(body)
    assert bits(batch.values.tolist()) == bits([value for *_, value in expected.samples])
    assert batch.timestamps_ms.tolist() == [
        RECEIVED_MS if at is None else at for _, _, at, _ in expected.samples
    ]
    assert batch.refused.get("malformed_line", 0) == expected.bad_lines
    assert batch.skipped.get("string_field", 0) == expected.strings
    assert bool(batch.first_error) == bool(expected.bad_lines)
    written = [(head, key) for head, key, *_ in expected.samples]
    keys = [tuple(key) for key in batch.keys.tolist()]
    assert len(set(keys)) == len(set(written)) == len(set(zip(keys, written, strict=True)))
    for row in range(batch.samples):
        with contextlib.suppress(InvalidLabels):
            batch.labels_at(row)


@given(
    names.filter(lambda name: name[:1] not in b"#,"),
    st.dictionaries(names, names, max_size=4),
    st.dictionaries(names, values, min_size=1, max_size=4),
    st.integers(-(2**60), 2**60),
    st.sampled_from([b"\n", b"\r\n", b"", b" \n"]),
)
def test_what_an_encoder_writes_is_read(measurement, tags, fields, timestamp, end):
    """Names with any characters, and the values and the time of every field, come back."""
    written = {key: text.encode() for key, (text, _) in fields.items()}
    measurement = measurement.lstrip(b" ") or b"m"
    body = lines.line(measurement, tags, written, b" %d" % timestamp + end)
    batch = decode(b"before v=1\n" + body, Naming(is_utf8=True), precision="ms")
    assert batch.first_error == ""
    for row, (key, (_, value)) in enumerate(fields.items(), 1):
        assert bits([batch.values[row]]) == bits([value])
        assert batch.timestamps_ms[row] == timestamp
        labels = batch.labels_at(row)
        assert dict(labels) == {b"__name__": measurement + b"_" + key, **tags}
        assert len(labels) == 1 + len(tags)


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{0,30})?(e[+-]?[0-9]{1,3})?", fullmatch=True)
    | st.floats(0.1, 10).map(lambda one: f"{one:.25f}")
    | st.integers(2**53, 2**60).map(lambda one: f"{2 * one + 1}e-1")
)
def test_a_decimal_is_its_nearest_float(text):
    """As Python reads it, to the last bit; what is over the largest float64 is refused."""
    batch, value = decode(f"m v={text}".encode()), float(text)
    assert bits(batch.values.tolist()) == ([] if math.isinf(value) else bits([value]))


@pytest.mark.parametrize(
    "text",
    [
        "2.2250738585072011e-308",  # the largest subnormal number, and its neighbours
        "2.2250738585072014e-308",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "1.7976931348623157e308",
        "9007199254740993",  # ties
        "9007199254740993.00000000000000000000000000001",
        "6018347863439097.5",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "0." + "0" * 400 + "1e400",
        "1" + "0" * 400 + "e-400",
        "1e-99999999999999999999",
    ],
)
def test_decimals_that_are_hard_to_round(text):
    """Ties, subnormal numbers and long ones are read as Python reads them."""
    assert bits(decode(f"m v={text},w=-{text}".encode()).values.tolist()) == bits(
        [float(text), -float(text)]
    )


def test_lines_as_telegraf_writes_them():
    """Byte for byte what Telegraf's inputs gave, and the samples that it is."""
    batch = decode((GOLDEN / "telegraf.lp").read_bytes(), db="telegraf")
    samples = []
    for row in range(batch.samples):
        (_, name), *labels = batch.labels_at(row)
        pairs = ",".join(f'{key.decode()}="{value.decode()}"' for key, value in labels)
        at_ms, value = int(batch.timestamps_ms[row]), float(batch.values[row])
        samples.append(f"{name.decode()}{{{pairs}}} {value!r} {at_ms}\n")
    assert "".join(samples) == (GOLDEN / "telegraf.txt").read_text()
    assert (batch.refused, batch.skipped) == ({"malformed_line": 1}, {"string_field": 3})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b",a=b v=1", "missing measurement"),
        (b"cpu", "missing fields"),
        (b"cpu ", "missing fields"),
        (b"cpu,host=a", "missing fields"),
        (b"cpu =1", "missing field key"),
        (b"cpu v=1,=2", "missing field key"),
        (b"cpu v=1,", "missing field key"),
        (b"cpu v", "missing field value"),
        (b"cpu v=", "missing field value"),
        (b"cpu v=,w=1", "missing field value"),
        (b"cpu v= 1", "missing field value"),
        (b"cpu v=yes", "not a number, boolean or string"),
        (b"cpu v=TrUe", "not a number, boolean or string"),
        (b"cpu v=NaN", "not a number, boolean or string"),
        (b"cpu v=-Inf", "invalid number"),
        (b"cpu v=+1", "not a number, boolean or string"),
        (b"cpu v=1.0i", "not a number, boolean or string"),
        (b"cpu v=1e", "invalid number"),
        (b"cpu v=-1u", "invalid number"),
        (b"cpu v=9223372036854775808i", "too large"),
        (b"cpu v=-9223372036854775809i", "too large"),
        (b"cpu v=18446744073709551616u", "too large"),
        (b"cpu v=1e309", "too large"),
        (b"cpu v=1e99999999999999999999", "too large"),
        (b'cpu v="a', "unbalanced quotes"),
        (b'cpu v="a\\"', "unbalanced quotes"),
        (b'cpu v="a"b', "not a number, boolean or string"),
        (b"cpu v=1 1.5", "bad timestamp"),
        (b"cpu v=1 12 13", "bad timestamp"),
        (b"cpu v=1 9223372036854775808", "bad timestamp"),
        (b"c" * 65_535 + b" v=1", "over 65535 bytes"),
    ],
)
def test_a_line_that_cannot_be_read_costs_no_other(line, why):
    """It is refused with its text, reason, line and byte; the lines around it are samples."""
    batch = decode(b"a v=1 1\n" + line + b"\nb v=2 2\n", precision="ms")
    assert batch.timestamps_ms.tolist() == [1, 2]
    assert batch.refused == {"malformed_line": 1}
    assert why in batch.first_error
    assert batch.first_error.startswith(f"unable to parse {line[:40].decode()!r}"[:40])
    assert "(line 2, byte " in batch.first_error


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        (b",", "missing tag key"),
        (b",=b", "missing tag key"),
        (b",a", "missing tag value"),
        (b",a=", "missing tag value"),
        (b",a=,b=c", "missing tag value"),
        (b",a=b=c", "invalid tag format"),
        (b",a=1,b=2,a=3", "duplicate tags"),
        (b",a=b" * 1025, "over 1024 tags"),
    ],
)
def test_tags_that_cannot_be_read_refuse_their_line(tags, why):
    """All fields of the line are refused, whether its labels are asked for once or again."""
    batch = decode(b"cpu" + tags + b" v=1,w=2\ncpu,a=b v=1\n")
    for row in (0, 1, 0):
        with pytest.raises(InvalidLabels, match=why):
            batch.labels_at(row)
    assert batch.labels_at(2) == [(b"__name__", b"cpu_v"), (b"a", b"b")]


def test_lines_that_say_nothing():
    """Comments, blank lines and an empty body are no samples and no error."""
    for body in (b"", b"\n\r\n  \n", b"# cpu v=1\n  # more"):
        batch = decode(body)
        assert (batch.samples, batch.first_error) == (0, "")


def test_strings_are_skipped_and_counted():
    """A string is no sample; the numbers beside it are, also where it holds line ends, commas,
    quotes and backslashes. A number in quotes is a string.
    """
    batch = decode(b'a s="1",v=1\nb s="x, y=2\nc v=3 \\" \\\\",v=4 5\nd s="only"\n', precision="s")
    assert batch.values.tolist() == [1, 4]
    assert batch.timestamps_ms.tolist() == [RECEIVED_MS, 5_000]
    assert batch.skipped == {"string_field": 3}
    assert batch.refused == {}


def test_a_quote_that_stays_open_costs_its_line_alone():
    """The lines after it are read."""
    batch = decode(b'a s="x\nb v=1\nc v=2')
    assert (batch.values.tolist(), batch.refused) == ([1, 2], {"malformed_line": 1})


@pytest.mark.parametrize(
    ("precision", "version", "timestamp", "timestamp_ms"),
    [
        ("", 1, 1_700_000_000_123_999_999, 1_700_000_000_123),
        ("n", 1, 1_000_000, 1),
        ("ns", 1, -1, -1),
        ("u", 1, 1_999, 1),
        ("µ", 1, 2_000, 2),
        ("us", 1, 2_000, 2),
        ("ms", 1, 7, 7),
        ("s", 1, 7, 7_000),
        ("m", 1, 7, 420_000),
        ("h", 1, 7, 25_200_000),
        ("", 2, 1_000_000, 1),
        ("us", 2, 1_000, 1),
        ("ms", 2, 7, 7),
        ("s", 2, 7, 7_000),
    ],
)
def test_precisions(precision, version, timestamp, timestamp_ms):
    """Each version reads its own precisions; nanoseconds are the default; ms are rounded down."""
    batch = decode(b"m v=1 %d" % timestamp, version=version, precision=precision)
    assert batch.timestamps_ms.tolist() == [timestamp_ms]


@pytest.mark.parametrize(("version", "precision"), [(1, "d"), (2, "m"), (2, "h"), (2, "n")])
def test_a_precision_nobody_knows_is_named(version, precision):
    """It is refused before the body is read."""
    request = WriteRequest("/write", {}, {"precision": precision})
    with pytest.raises(WriteError, match=f"precision '{precision}' is none of ns"):
        influx.protocols(Naming())[version - 1].check(request)


def test_a_time_outside_of_int64_stays_outside_of_every_span():
    """Hours that overflow become the end of time, which is refused later, not another time."""
    batch = decode(b"m v=1 9000000000000000000\nm v=1 -9000000000000000000", precision="h")
    assert batch.timestamps_ms[0] > 2**62
    assert batch.timestamps_ms[1] < -(2**62)


def test_a_field_that_stands_twice():
    """Its samples come in their order, so that the store keeps the last."""
    batch = decode(b"m v=1,v=2 5")
    assert batch.values.tolist() == [1, 2]
    assert batch.keys[0].tolist() == batch.keys[1].tolist()


def test_the_database_decides_the_series():
    """`db` and `bucket` are the label `db` and part of the key; a tag of that name goes first."""
    assert labels_of(b"m v=1", db="x") == {b"__name__": b"m_v", b"db": b"x"}
    assert labels_of(b"m v=1", bucket="x")[b"db"] == b"x"
    assert labels_of(b"m,db=t v=1", db="x")[b"db"] == b"t"
    assert b"db" not in labels_of(b"m v=1", db="")
    keys = [decode(b"m v=1", db=db).keys.tolist() for db in ("x", "y", "", "x")]
    assert keys[0] == keys[3]
    assert len({str(key) for key in keys}) == 3
    without = Naming(has_db_label=False)
    assert b"db" not in labels_of(b"m v=1", without, db="x")


def test_names():
    """A metric is measurement_field; what Prometheus' names cannot hold is `_`, unless UTF-8 is on;
    two tags whose names become one have both values.
    """
    assert name_of(b"cpu usage_user=1") == b"cpu_usage_user"
    assert name_of(b"cpu value=1") == b"cpu_value"
    assert name_of(b"cpu value=1", Naming(is_value_bare=True)) == b"cpu"
    assert name_of(b"cpu values=1", Naming(is_value_bare=True)) == b"cpu_values"
    assert name_of(b"9cpu.a\\ b:c v-\xc3\xa9=1") == b"_9cpu_a_b:c_v__"
    assert name_of(b"cpu.a v=1", Naming(is_utf8=True)) == b"cpu.a_v"
    assert labels_of(b"m,1a:b=x v=1") == {b"__name__": b"m_v", b"_1a_b": b"x"}
    assert labels_of(b"m,a-b=2,a.b=1 v=1")[b"a_b"] == b"2;1"
    assert labels_of(b"m,a-b=2,a.b=1 v=1", Naming(is_utf8=True))[b"a.b"] == b"1"
    assert labels_of(b"m,a=\xff v=1")[b"a"] == b"\xff"  # for `labels.canonical` to refuse


def test_bounds():
    """Too many samples, and labels to read, are a request that is too large."""
    fields = b",".join(b"f=1" for _ in range(1_001))
    request = WriteRequest("/write", body=b"m " + fields)
    protocol = influx.protocols(Naming())[0]
    assert protocol.decode(request, Bounds(1 << 20, 1_001)).samples == 1_001
    with pytest.raises(BodyTooLarge, match="too many samples"):
        protocol.decode(request, Bounds(1 << 20, 1_000))
    with pytest.raises(BodyTooLarge):
        protocol.decode(request, Bounds(1_000, 1_001))


def test_labels_of_one_request_are_bounded(monkeypatch):
    """Many new series with many tags each are a request that is too large, not minutes of work."""
    monkeypatch.setattr(protocol_module, "LABELS_READ_MAX", 15)
    batch = decode(b"m,a=1,b=2,c=3,d=4 " + b"v=1,w=2,x=3,y=4")
    for row in range(3):
        assert len(batch.labels_at(row)) == 5
    with pytest.raises(BodyTooLarge, match="too many labels"):
        batch.labels_at(3)


def request_with(body: bytes, encoding: str) -> WriteRequest:
    return WriteRequest("/write", {"content-encoding": encoding}, body=body)


def test_gzip():
    """What is compressed is read the same, however many members it has; a bomb is refused."""
    protocol = influx.protocols(Naming())[0]
    body = b"m v=1\n" * 100
    request = request_with(gzip.compress(body) + gzip.compress(body), "GZIP")
    protocol.check(request)
    assert protocol.decode(request, BOUNDS).samples == 200
    with pytest.raises(BodyTooLarge):
        protocol.decode(request_with(gzip.compress(bytes(2 << 20)), "gzip"), BOUNDS)
    with pytest.raises(UnsupportedBody, match="gzip, zstd or deflate"):
        protocol.check(request_with(b"", "br"))


@given(st.binary(max_size=60), st.sampled_from(["", "gzip", "zstd", "deflate"]), st.booleans())
def test_any_bytes_are_decoded_or_refused(body, encoding, is_compressed):
    """Whatever a body says it is, it is decoded or one of our errors."""
    sent = gzip.compress(body) if is_compressed else body
    with contextlib.suppress(ServiceError):
        influx.protocols(Naming())[0].decode(request_with(sent, encoding), BOUNDS)
