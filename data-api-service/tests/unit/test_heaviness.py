"""Which queries are heavy, and what is remembered of queries."""

import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api import heaviness, query_log
from data_api.admission import Holding, SamplePool
from data_api.cost import LISTED_S, NAMED_S, expected_s
from data_api.errors import QueryCanceled, TooManyMatchers
from data_api.heaviness import (
    ALONE_TIMES,
    LIGHT_S,
    ON_LOOP_S,
    UNKNOWN_S,
    Heavy,
    Meter,
    Weights,
    light_s,
)
from data_api.model import Cost, Matcher, MatchOp, QueryLimits
from data_api.promql.values import ROWS_AT_ONCE, runs, stopping_at
from data_api.query_log import Entry, QueryLog, ReadText
from data_api.questions import MATCHERS_MAX, Question, Selectors, computed, parse_selector
from data_api.store.answers import Answers
from data_api.store.cache import ByteCache
from data_api.store.head import Head
from data_api.store.postings import SeriesIndex
from data_api.store.reader import Opened
from data_api.store.tenant_state import Snapshot

A, B = uuid.uuid4(), uuid.uuid4()


def selectors(*texts):
    """As `match[]` has them."""
    return Selectors(sum(map(len, texts)), lambda: [parse_selector(text) for text in texts], texts)


HOUR = (0, 3_600_000, 60_000)


def index_of(series):
    index = SeriesIndex()
    index.add((n, {"__name__": f"m{n % 5}", "host": f"h{n}"}) for n in range(series))
    return index


class Known:
    """A store whose index is known."""

    def __init__(self, index):
        self.catalogue = self
        self._index = index

    def index(self, _):
        return self._index


@pytest.mark.parametrize(
    ("lighter", "heavier"),
    [
        ("m0", "sum(rate(m0[5m]))"),
        ("sum(rate(m0[5m]))", "sum(rate(m0[50m]))"),
        ("m0", '{__name__=~"m.*"}'),
        ('m0{host="h5"}', "m0"),
        ("max_over_time(m0[5m])", "max_over_time((m0 > 0)[5m:1s])"),
        ("m0", 'm0{host!~"x.*y"}'),
        ('label_join(m0, "a", "", "b")', 'label_join(label_join(m0, "a", "", "b"), "c", "", "d")'),
    ],
)  # fmt: skip
def test_what_takes_more_is_expected_to(lighter, heavier):
    """More series, steps, passes, samples of windows or values to compare: a higher estimate."""
    index = index_of(500)
    one, other = (
        expected_s(Question(text, HOUR, 300_000).planned(), index) for text in (lighter, heavier)
    )
    assert one < other


def test_a_dashboards_query_is_light_and_one_of_all_series_is_not():
    """One host's rates stay in the service; a quantile over everything and a text that is too long
    to be read by the event loop do not. Of a tenant that was not read yet, all begin in a thread.
    """
    weights, cold = Weights(Known(index_of(5000))), Weights(Known(None))

    def expected(one, text):
        return one.of_questions(A, text, [Question(text, HOUR, 300_000)])

    assert expected(weights, 'sum(rate(m0{host="h5"}[5m]))') < LIGHT_S
    assert expected(weights, 'quantile_over_time(0.9, {__name__=~"m.*"}[30m])') > LIGHT_S
    assert expected(weights, "1" + " + 1" * 1000) == heaviness.NEVER
    assert expected(weights, "sum(") == 0
    assert expected(cold, 'quantile_over_time(0.9, {__name__=~"m.*"}[30m])') == UNKNOWN_S
    assert ON_LOOP_S < UNKNOWN_S < LIGHT_S


def test_what_was_heavy_is_so_again_for_its_tenant():
    """And the oldest are forgotten, so that the memory of them has a bound. What took too long for
    the event loop is not begun there again.
    """
    weights = Weights(Known(index_of(200)))
    for n in range(heaviness.REMEMBERED + 1):
        weights.takes(A, f"m{n}", heaviness.NEVER)
    assert len(weights._least_s) == heaviness.REMEMBERED
    assert weights.of_series(A, "m0", selectors("m0"), NAMED_S) < LIGHT_S
    assert weights.of_series(A, "m1", selectors("m1"), NAMED_S) == heaviness.NEVER
    assert weights.of_series(B, "m1", selectors("m1"), NAMED_S) < LIGHT_S
    weights.takes(B, "m1", UNKNOWN_S)
    assert weights.of_series(B, "m1", selectors("m1"), NAMED_S) == UNKNOWN_S


def test_what_is_listed_weighs_as_much_as_is_selected():
    """Names among many series are found here, and so are the label sets of a few of them; all of
    these are not.
    """
    weights = Weights(Known(index_of(50_000)))

    def expected(text, series_s):
        return weights.of_series(A, text, selectors(*text.split()), series_s)

    assert expected("", NAMED_S) < LIGHT_S
    assert expected("m0", NAMED_S) < LIGHT_S
    assert expected('{host="h5"} {host=~"h6|h7"}', LISTED_S) < LIGHT_S
    assert expected("m0 m1", LISTED_S) > LIGHT_S
    assert expected('{host=~"h.*6"}', LISTED_S) > LIGHT_S


def test_the_event_loop_reads_no_long_texts(monkeypatch):
    """However many there are: they are read in a thread, and begin here."""
    weights = Weights(Known(index_of(5000)))
    questions = [Question("m0 + " * 50 + "m0", HOUR, 300_000)] * 64
    monkeypatch.setattr(Question, "planned", None)
    assert weights.of_questions(A, "\n".join(one.text for one in questions), questions) == UNKNOWN_S


async def test_questions_with_long_texts_are_read_where_queries_compute():
    """All of them in one piece of work."""
    works = []

    async def run(work):
        works.append(work)
        return work()

    class Empty:
        answers = Answers(0)

        async def opened(self, *_):
            return Opened(Snapshot(SeriesIndex(), Head(), ()), ())

    for texts, pieces in ((["1"] * 5, 1), (["1 + 1" * 100] * 5, 2)):
        works.clear()
        questions = [Question(text, HOUR, 300_000) for text in texts]
        limits = QueryLimits(run=run)
        answers = await computed(Empty(), A, questions, lambda results, _: [*results], limits)
        assert len(answers) == 5
        assert len(works) == pieces


@given(
    st.lists(
        st.builds(
            Matcher,
            st.sampled_from(["__name__", "host", "none"]),
            st.sampled_from(list(MatchOp)),
            st.sampled_from(["", "m1", "m.*", "h7", "h1|h2", ".+"]),
        ),
        max_size=4,
    )
)
def test_no_more_series_match_than_the_sizes_say(matchers):
    """`at_most` is a bound, whatever the matchers."""
    index = index_of(20)
    assert index.select(matchers).size <= index.at_most(matchers)[0]


class Turn:
    """Runs what it is given, and says where; `is_shared` as a test says."""

    def __init__(self, is_shared=True):
        self.is_shared = is_shared
        self.runs = self.counted = 0

    async def run(self, work):
        self.runs += 1
        return work()

    def count(self):
        self.counted += 1

    def checkpoint(self):
        pass


async def test_a_query_moves_at_a_checkpoint_once_it_took_its_share():
    """With what a worker is to do; one that cannot be packed goes on to its end."""

    def work():
        for _ in range(2):
            meter.checkpoint()
        return "done"

    meter = Meter(Turn(), Cost())
    meter.bound(0.0, lambda: b"work")
    with pytest.raises(Heavy) as moved:
        await meter.run(work)
    assert moved.value.work == b"work"
    meter.bound(0.0, lambda: None)
    assert await meter.run(work) == "done"


@pytest.mark.parametrize("why", ["", "it takes long", "a value has to be made"])
async def test_the_event_loop_computes_what_is_small_and_waits_for_nothing(monkeypatch, why):
    """Without a turn, though its tenant counts as active. What takes longer than it may, or needs
    what is not in memory, is begun anew in a thread, where it may; the first is remembered.
    """
    turn, cost = Turn(), Cost()
    meter = Meter(turn, cost)
    meter.is_on_loop = True
    cache = ByteCache("test", 100, len)
    if why == "it takes long":
        monkeypatch.setattr(heaviness, "ON_LOOP_S_MAX", 0.0)

    def work():
        meter.checkpoint()
        return cache.get("key", lambda: b"made") if why == "a value has to be made" else b"made"

    assert await meter.run(work) == b"made"
    assert (turn.counted, turn.runs) == (1, int(why != ""))
    assert meter.least_s == (UNKNOWN_S if why == "it takes long" else 0.0)
    assert cost.cpu_s > 0
    if why == "a value has to be made":
        meter.is_on_loop = True
        assert await meter.run(work) == b"made"
        assert turn.runs == 1


async def test_an_index_that_another_thread_fills_is_not_waited_for():
    """Whatever is asked of it then is no work for the event loop."""
    index = index_of(5)
    weights = Weights(Known(index))
    assert weights.of_series(A, "m1", selectors("m1"), NAMED_S) < ON_LOOP_S
    is_held, is_over = threading.Event(), threading.Event()

    def hold():
        with index._lock:
            is_held.set()
            is_over.wait(600)

    holding = threading.Thread(target=hold)
    holding.start()
    is_held.wait(600)
    assert weights.of_series(A, "m1", selectors("m1"), NAMED_S) == UNKNOWN_S
    is_over.set()
    holding.join()


async def test_who_is_alone_may_take_more():
    """ALONE_TIMES as much CPU is light while no other tenant is active."""
    assert light_s(Turn(), 0.5) == 0.5
    assert light_s(Turn(is_shared=False), 0.5) == 0.5 * ALONE_TIMES


def test_a_pass_over_label_sets_can_be_stopped():
    """There is a checkpoint each ROWS_AT_ONCE of them; none is left out."""
    seen = []
    with stopping_at(lambda: seen.append(None)):
        assert [row for some in runs(range(3000)) for row in some] == list(range(3000))
    assert len(seen) == -(-3000 // ROWS_AT_ONCE)

    def stop():
        raise QueryCanceled

    with stopping_at(stop), pytest.raises(QueryCanceled):
        list(runs([1]))


def test_a_selector_has_so_many_matchers():
    """One more is refused by name, with the number and the limit."""
    parse_selector("m{" + 'a!="b",' * (MATCHERS_MAX - 1) + "}")
    with pytest.raises(TooManyMatchers, match=rf"needed={MATCHERS_MAX + 1}, limit={MATCHERS_MAX}"):
        parse_selector("m{" + 'a!="b",' * MATCHERS_MAX + "}")


def test_the_log_of_queries_is_bounded(monkeypatch):
    """So many tenants, so many queries of each list, so much of a text; a running one is active."""
    monkeypatch.setattr(query_log, "TENANTS_MAX", 2)
    monkeypatch.setattr(query_log, "SLOW_S", 0.0)
    log, pool = QueryLog(), SamplePool(100)

    def query(tenant, exc=None, cpu_s=0.0):
        text = ReadText("query", "x" * 5000)
        entry = Entry(text, Cost(cpu_s=cpu_s), Holding(pool, tenant))
        log.begin(tenant, entry)
        assert [one["outcome"] for one in log.shown(tenant)["active"]] == ["running"]
        assert len(entry.read_text.text) == 5000
        log.end(tenant, entry, exc)
        assert len(entry.read_text.text) == query_log.TEXT_CHARS_MAX  # of all that stays in memory

    for n in range(query_log.LISTED_MAX + 5):
        query(A, QueryCanceled(), n)
    shown = log.shown(A)
    lengths = {name: len(entries) for name, entries in shown.items()}
    assert lengths == {"active": 0, "costliest": 20, "slow": 20, "failed": 20}
    costs = [one["cpu_s"] for one in shown["costliest"]]
    assert costs == [*range(query_log.LISTED_MAX + 4, 4, -1)]
    assert len(shown["slow"][0]["text"]) == query_log.TEXT_CHARS_MAX
    for tenant in (B, uuid.uuid4()):
        query(tenant)
    assert not log.shown(A)["failed"]
    assert log.shown(B)["costliest"]
