"""Laws of selectors: what they select, and what none is."""

import contextlib
import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.selectors import CHARACTERS_MAX, BadSelector, Matcher, parse, selects

LABELS = {"__name__": "up", "job": "node", "my.label": "x\ny"}
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.mark.parametrize(
    ("text", "is_selected"),
    [
        pytest.param("up", True, id="name"),
        pytest.param(" up { } ", True, id="name and no matchers"),
        pytest.param('up{job="node"}', True, id="equal"),
        pytest.param("up{job!='node',}", False, id="not equal"),
        pytest.param('{job=~"no.*", __name__=`up`}', True, id="pattern"),
        pytest.param('{job=~"no"}', False, id="a pattern matches the whole value"),
        pytest.param('{job!~"x|node"}up', None, id="name after"),
        pytest.param('up{job!~"node|x"}', False, id="not pattern"),
        pytest.param('up{zone=""}', True, id="a missing label is empty"),
        pytest.param('up{zone!=""}', False, id="not empty"),
        pytest.param('{"up","my.label"=~"x.y"}', True, id="quoted names, dot matches a line end"),
        pytest.param('{"\\u0075p"}', True, id="escape"),
        pytest.param("", None, id="nothing"),
        pytest.param("{}", None, id="everything"),
        pytest.param('{job=~".*"}', None, id="everything by a pattern"),
        pytest.param('up{job="node"', None, id="not closed"),
        pytest.param('up{job="a" job="b"}', None, id="no comma"),
        pytest.param("up{job}", None, id="no value"),
        pytest.param('up{job=~"("}', None, id="no pattern"),
        pytest.param('up{job="\\q"}', None, id="no escape"),
        pytest.param('up{job="\\ud800"}', None, id="half a character"),
        pytest.param("up[5m]", None, id="range"),
        pytest.param("sum(up)", None, id="function"),
        pytest.param("up\0", None, id="NUL"),
        pytest.param("u" * (CHARACTERS_MAX + 1), None, id="long"),
    ],
)
def test_what_is_selected(text, is_selected):
    """As in PromQL; None: refused."""
    if is_selected is None:
        with pytest.raises(BadSelector):
            parse(text)
    else:
        assert selects([parse(text)], LABELS) == is_selected
        assert selects([parse("down"), parse(text)], LABELS) == is_selected


@given(st.dictionaries(texts.filter(bool), texts, min_size=1, max_size=3))
def test_any_labels_can_be_written(labels):
    """Quoted names and values select exactly the labels they were made of."""
    quoted = functools.partial(json.dumps, ensure_ascii=False)
    inside = ",".join(f"{quoted(name)}={quoted(value)}" for name, value in labels.items())
    matchers = parse("up{" + inside + "}")
    assert matchers[1:] == tuple(Matcher(k, "=", v) for k, v in labels.items())


@given(texts)
def test_any_text_is_read_or_refused(text):
    """Nothing else is raised."""
    for whole in (text, "{" + text + "}"):
        with contextlib.suppress(BadSelector):
            assert parse(whole)
