"""Routes, silences, inhibition and times: who is told of what, and when not."""

from datetime import UTC, datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api.model import MatchOp
from data_api.notify import matchers, routing
from data_api.notify.compiled import compiled
from data_api.notify.errors import BadMatcher
from data_api.notify.routing import Inhibition, Silences, time_muted_by
from data_api.notify.state import Received, Silence, fingerprint
from data_api.rules.model import Alert

NOW = 1_800_000_000_000


def alert(ends=NOW + 60_000, **labels):
    return Received(Alert(labels, {}, NOW, ends, NOW), fingerprint(labels))


def configured(more="", route="receiver: a"):
    return compiled(f"route: {{{route}}}\nreceivers: [{{name: a}}, {{name: b}}]\n{more}")


def receivers_of(route, labels):
    return [(one.config.receiver, one.key) for one in route.find(labels)]


def test_an_alert_takes_the_deepest_route_that_matches():
    """Children come first, the first that matches ends it unless it continues; else the node."""
    root = configured(
        route="receiver: a, routes: ["
        "{matchers: [x=1], receiver: b, routes: [{matchers: [y=2]}]},"
        "{matchers: [z=3], continue: true}, {matchers: ['z=~\"3|4\"'], receiver: b}]"
    ).root
    assert receivers_of(root, {}) == [("a", "{}")]
    assert receivers_of(root, {"x": "1"}) == [("b", '{}/{x="1"}')]
    assert receivers_of(root, {"x": "1", "y": "2", "z": "3"}) == [("b", '{}/{x="1"}/{y="2"}')]
    assert receivers_of(root, {"z": "3"}) == [
        ("a", '{}/{z="3"}'),
        ("b", '{}/{z=~"3|4"}'),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a="b"', [("a", "=", "b")]),
        ('{ a = b , c!~"d|e" }', [("a", "=", "b"), ("c", "!~", "d|e")]),
        ('"has space"!="x\\n\\"y\\""', [("has space", "!=", 'x\n"y"')]),
        ("a=", [("a", "=", "")]),
        ("", []),
    ],
)
def test_matchers_are_read_as_alertmanager_reads_them(text, expected):
    """Quoted and bare names and values, lists with and without braces."""
    assert [(m.name, str(m.op), m.value) for m in matchers.parse(text)] == expected


@given(st.text(max_size=60))
def test_any_text_is_matchers_or_refused(text):
    """No text crashes the reader, and what it reads it reads again from its own form."""
    try:
        parsed = matchers.parse(text)
    except BadMatcher:
        return
    if all(m.name.isidentifier() for m in parsed):
        assert matchers.parse(matchers.to_text(parsed)) == parsed


RULE = "inhibit_rules: [{source_matchers: [s=1], target_matchers: [t=1], equal: [e]}]"


def test_a_source_inhibits_targets_with_equal_labels():
    """Only while it fires, only where the equal labels are the same; absent is as empty."""
    config = configured(RULE).config
    target = alert(t="1", e="x")

    def by(*sources, labels=target.alert.labels):
        return Inhibition(config, sources, NOW).by(labels)

    source = alert(s="1", e="x")
    assert by(source) == source.fingerprint
    assert by(alert(s="1", e="y")) is None
    assert by(alert(ends=NOW, s="1", e="x")) is None
    assert by(alert(s="1"), labels={"t": "1"}) is not None
    assert by(source, labels={"e": "x"}) is None


def test_no_alert_inhibits_itself():
    """Of alerts that are source and target, none inhibits another; a pure source inhibits both."""
    config = configured(RULE).config
    one, two = alert(s="1", t="1", e="x", n="1"), alert(s="1", t="1", e="x", n="2")
    pure = alert(s="1", e="x")
    for known in ([one], [one, two], [two, one]):
        assert Inhibition(config, known, NOW).by(one.alert.labels) is None
    assert Inhibition(config, [one, pure], NOW).by(two.alert.labels) == pure.fingerprint
    assert Inhibition(config, [one], NOW).by({"t": "1", "e": "x"}) == one.fingerprint


def silence(*conditions, starts=NOW - 1, ends=NOW + 1):
    chosen = tuple(matchers.checked(name, MatchOp(op), value) for name, op, value in conditions)
    return Silence(uuid4(), chosen, starts, ends, NOW, "me", "")


def test_a_silence_holds_from_its_start_until_its_end():
    """All matchers must hold; before its start and from its end on it does nothing."""
    is_x = ("a", "=", "x")
    active = silence(is_x, ("b", "!=", "y"))
    chosen = [
        active,
        silence(is_x, starts=NOW + 1),
        silence(is_x, ends=NOW),
        silence(is_x, ("b", "=", "y")),
    ]
    assert Silences(chosen, NOW).by({"a": "x"}) == [str(active.silence_id)]
    assert Silences(chosen, NOW).by({"a": "x", "b": "y"}) == [str(chosen[3].silence_id)]
    assert Silences([silence(("a", "!~", "y"))], NOW).by({}) != []


WORDS = st.sampled_from(["", "x", "y"])


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from(["=", "!=", "=~", "!~"]), WORDS),
            min_size=1,
            max_size=3,
        ),
        max_size=6,
    ),
    WORDS,
    WORDS,
)
def test_silences_found_by_index_are_those_that_match(chosen, a, b):
    """The index changes nothing: a silence is found when all of its matchers hold."""
    silences = [silence(*conditions) for conditions in chosen]
    labels = {name: value for name, value in (("a", a), ("b", b)) if value}
    expected = [one for one in silences if matchers.predicate(one.matchers)(labels)]
    assert Silences(silences, NOW).by(labels) == sorted(str(one.silence_id) for one in expected)


def ms(*parts, zone="UTC", fold=0):
    return int(datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def muted(fields, now_ms, *, is_active=False):
    kind = "active" if is_active else "mute"
    child = f"receiver: a, routes: [{{{kind}_time_intervals: [t]}}]"
    known = configured(f"time_intervals: [{{name: t, time_intervals: [{{{fields}}}]}}]", child)
    return time_muted_by(known.root.children[0], known.config, now_ms) == ["t"]


def test_times_are_of_the_wall_clock_over_summer_time():
    """Nine o'clock in Berlin is nine o'clock before and after the change; the hour that comes
    twice is muted twice, and the one that is left out ends as the clock jumps over it.
    """
    nine = "times: [{start_time: '09:00', end_time: '10:00'}], location: Europe/Berlin"
    assert muted(nine, ms(2026, 3, 28, 8, 30))
    assert muted(nine, ms(2026, 3, 29, 7, 30))
    assert not muted(nine, ms(2026, 3, 28, 7, 30))
    assert not muted(nine, ms(2026, 3, 29, 8, 30))
    two = "times: [{start_time: '02:00', end_time: '03:00'}], location: Europe/Berlin"
    berlin = {"zone": "Europe/Berlin"}
    assert muted(two, ms(2026, 10, 25, 2, 30, **berlin))
    assert muted(two, ms(2026, 10, 25, 2, 30, fold=1, **berlin))
    assert not muted(two, ms(2026, 10, 25, 3, 0, **berlin))
    hours = [datetime.fromtimestamp(ms(2026, 3, 29) / 1000 + h * 3600, UTC) for h in range(4)]
    assert not any(muted(two, int(at.timestamp() * 1000)) for at in hours)


@pytest.mark.parametrize(
    ("fields", "inside", "outside"),
    [
        ("weekdays: ['monday:friday']", (2026, 11, 30), (2026, 11, 29)),
        ("weekdays: [sunday]", (2026, 11, 29), (2026, 11, 28)),
        ("days_of_month: ['-1']", (2028, 2, 29), (2028, 2, 28)),
        ("days_of_month: ['30:31']", (2026, 11, 30), (2026, 2, 28)),
        ("days_of_month: ['-31:-30']", (2026, 11, 1), (2026, 11, 2)),
        ("days_of_month: ['1:-1']", (2026, 2, 28), None),
        ("months: ['january:march', '12']", (2026, 12, 1), (2026, 11, 30)),
        ("years: ['2026:2027']", (2027, 1, 1), (2028, 1, 1)),
        ("weekdays: [sunday], months: [november]", (2026, 11, 29), (2026, 12, 6)),
        ("times: [{start_time: '23:00', end_time: '24:00'}]", (2026, 1, 1, 23, 59), (2026, 1, 1)),
    ],
)
def test_an_interval_holds_when_all_its_fields_do(fields, inside, outside):
    """Of each field one range; days from the month's end are negative."""
    assert muted(fields, ms(*inside))
    assert outside is None or not muted(fields, ms(*outside))
    assert not muted(fields, ms(*inside), is_active=True)
    assert outside is None or muted(fields, ms(*outside), is_active=True)


def test_what_is_common():
    """Only pairs that all have are common."""
    assert routing.common([{"a": "1", "b": "2"}, {"a": "1", "b": "3"}]) == {"a": "1"}
    assert routing.common([]) == {}


def test_fingerprints_are_those_of_alertmanager():
    """The vectors of prometheus/common's own tests."""
    labels = {"name": "garland, briggs", "fear": "love is not enough"}
    assert int(fingerprint({}), 16) == 14695981039346656037
    assert int(fingerprint(labels), 16) == 5799056148416392346
