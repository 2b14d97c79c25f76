"""Laws of what may be stored: labels, times."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import InvalidLabels
from data_ingest.labels import LabelRules, canonical
from data_ingest.limits import DAY_MS, TimeSpan

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
