"""Laws of what may be stored: labels, times."""

import hashlib
import json
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest import admission
from data_ingest.admission import Prepared, admit
from data_ingest.errors import BodyTooLarge, InvalidLabels
from data_ingest.labels import LabelRules, canonical, plain_series
from data_ingest.limits import DAY_MS, TimeSpan
from data_ingest.model import SampleBatch, Sender
from data_ingest.protocols import influx, remote_write
from data_ingest.protocols.protocol import Bounds, WriteRequest
from data_ingest.replicas import Groups, Recognition, ReplicaLabels
from tests import wire

RULES = LabelRules(labels_max=4, name_bytes_max=10, value_bytes_max=20)
words = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=5
)


@given(st.dictionaries(words, words, min_size=1, max_size=4), st.randoms())
def test_one_form_for_any_order(labels, random):
    """Labels in any order are one series, whose hash is the one of the contract."""
    rules = LabelRules(labels_max=128, name_bytes_max=1024, value_bytes_max=8192)
    raw = [(name.encode(), value.encode()) for name, value in labels.items()]
    ordered = sorted(raw)
    random.shuffle(raw)
    series = canonical([*raw, (b"empty", b"")], rules)
    joined = b"".join(name + b"\xff" + value + b"\xff" for name, value in ordered)
    contract = hashlib.blake2b(joined, digest_size=16, person=b"coh-series").digest()
    assert series.labels_hash == contract
    assert json.loads(series.labels_json) == labels


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param([], "no labels", id="none"),
        pytest.param([(b"a", b"")], "no labels", id="only empty values"),
        pytest.param([(b"", b"x")], "empty label name", id="empty name"),
        pytest.param([(b"a", b"1"), (b"a", b"2")], "duplicate label 'a'", id="duplicate"),
        pytest.param([(b"a", b"1"), (b"a", b"1")], "duplicate label 'a'", id="same twice"),
        pytest.param([(b"a\xff", b"1")], "not UTF-8", id="name bytes"),
        pytest.param([(b"a", b"\xc3")], "not UTF-8", id="value bytes"),
        pytest.param([(b"a", b"x\0y")], "NUL", id="NUL value"),
        pytest.param([(b"a\0", b"x")], "NUL", id="NUL name"),
        pytest.param([(b"n" * 11, b"x")], "name too long", id="long name"),
        pytest.param([(b"a", b"x" * 21)], "too long", id="long value"),
        pytest.param([(b"%d" % i, b"x") for i in range(5)], "too many labels", id="many"),
    ],
)
def test_labels_that_cannot_be_stored(raw, reason):
    """Each rule is refused with its own words."""
    with pytest.raises(InvalidLabels, match=reason):
        canonical(raw, RULES)


def batch_of(rows, *, is_wire):
    """These label sets as a request: of remote_write, or as other protocols read them."""
    if is_wire:
        message = b"".join(wire.series(labels, [(1, 1.0)]) for labels in rows)
        return remote_write.decode(wire.compressed(message), Bounds(1 << 24, 1_000))
    empty = np.empty(0, np.int64)
    keys = np.zeros((len(rows), 2), np.uint64)
    return SampleBatch(keys, empty, empty, empty.astype(float), rows.__getitem__)


ODD = (b"", b"a", b"b\xff", "ü".encode(), b'"', b"\\", b"\0", b"\n", b"\x7f", b"z" * 18)
texts = st.binary(max_size=3) | st.sampled_from(ODD)
raw_labels = st.lists(st.tuples(texts, texts), max_size=6)


@given(st.lists(raw_labels, min_size=8, max_size=20), st.booleans())
def test_many_series_at_once_are_the_same_series(rows, is_wire):
    """What is made of many label sets at once is what is made of each; what is refused, or has the
    name that is asked for, is left to be looked at by itself, and plain ones are not.
    """
    rows[0] = [(b"__name__", "grün".encode()), (b"a", b"1"), (b"job", b"t")]
    batch = batch_of(rows, is_wire=is_wire)
    made = list(plain_series(batch, np.arange(len(rows)), RULES, b"a"))
    assert made[0] is None
    made += plain_series(batch, np.arange(len(rows)), RULES, b"")
    assert made[len(rows)] is not None
    for labels, series in zip([*rows, *rows], made, strict=True):
        if series is not None:
            assert series == canonical(labels, RULES)
    assert not any(series and '"a":' in series.labels_json for series in made[: len(rows)])


def test_labels_that_samples_share_have_a_bound(monkeypatch):
    """A small body becomes large where many new series share long labels: beyond a bound nothing
    of it is taken, and label sets that are there already count nothing.
    """
    monkeypatch.setattr(admission, "LABEL_TEXT_MAX", 10_000)
    rules = LabelRules(labels_max=4, name_bytes_max=100, value_bytes_max=1_000)

    def admitted(series: int, repeated: int = 1) -> Prepared:
        fields = [b"f%d=1" % i for _ in range(repeated) for i in range(series)]
        body = b"m,tag=" + b"x" * 1_000 + b" " + b",".join(fields)
        request = WriteRequest("/write", {}, {}, body=body, received_ms=1)
        batch = influx.protocols(influx.Naming())[0].decode(request, Bounds(1 << 24, 1_000))
        span, unknown = TimeSpan(0, 10), np.zeros(len(batch.keys), np.int64)
        nobody = Recognition(ReplicaLabels(), Groups(), lambda _: None)
        return admit(Sender(UUID(int=1), "key"), batch, unknown, span, rules, recognition=nobody)

    assert len(admitted(9, repeated=5).write.new) == 9
    with pytest.raises(BodyTooLarge, match="too much label text"):
        admitted(10)


def test_an_escaped_nul_is_text():
    r"""A value that spells \u0000 is six characters, not a NUL."""
    assert json.loads(canonical([(b"a", rb"\u0000")], RULES).labels_json) == {"a": r"\u0000"}


def test_times_that_can_be_stored():
    """From the retention to the allowed future, both inclusive; the rest is counted by reason."""
    now_ms = 1_700_000_000_000
    span = TimeSpan.at(now_ms, 1, 600_000)
    edges = np.array([now_ms - DAY_MS, now_ms + 600_000])
    assert span.holds(edges)
    inside, counts = span.split(np.array([*edges, edges[0] - 1, edges[1] + 1, edges[1] + 2]))
    assert inside.tolist() == [True, True, False, False, False]
    assert counts == {"too_old": 1, "too_far_in_future": 2}


def test_without_retention_the_epoch_is_the_bound():
    """Unlimited retention still refuses times before 1970."""
    span = TimeSpan.at(1_700_000_000_000, None, 0)
    assert span.holds(np.array([0]))
    assert not span.holds(np.array([-1]))
