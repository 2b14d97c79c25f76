"""Watches over time, in a real Postgres, with generated series and a clock that is moved."""

from datetime import timedelta

import anyio
import httpx
import pytest
from neighbours import TENANT_A, TENANT_B
from sqlalchemy import text
from watching import NOON_MS, START, STEP_MS, Killed, World, shifted, steady

from analysis_processing.watch import claims, defaults, events, runner
from analysis_processing.watch.runner import next_piece

SHOWN = ("labels", "kind", "start_ms", "end_ms", "peak_ms", "size", "value", "expected", "text")
SHIFT_MS = NOON_MS + 5 * STEP_MS


@pytest.fixture
def world(settings, engine):
    made = World(settings, engine)
    made.series = [
        ({"__name__": "cpu", "host": "a"}, shifted(SHIFT_MS, SHIFT_MS + 20 * STEP_MS)),
        ({"__name__": "cpu", "host": "b"}, steady),
    ]
    return made


def shown(rows):
    return [{name: row[name] for name in SHOWN} for row in rows]


def test_an_episode_is_one_event_from_its_begin_to_its_end(world):
    """Open while it lasts and closed after it, it is one row; the alarm series is 1 from when it
    was seen, and 0 once it is over.
    """
    watch = world.watch()
    world.live(12)
    (event,) = world.events()
    assert event["labels"] == {"__name__": "cpu", "host": "a"}
    assert event["end_ms"] is None
    assert SHIFT_MS <= event["start_ms"] < SHIFT_MS + 5 * STEP_MS
    world.live(90)
    closed = next(row for row in world.events() if row["id"] == event["id"])
    assert closed["start_ms"] == event["start_ms"] < closed["end_ms"]
    assert world.read(watch).error is None
    labels = {"watch": "cpu", "source_metric": "cpu", "host": "a"}
    alarms = world.alarms(**labels, anomaly_kind=closed["kind"])
    assert alarms[max(alarms)] == 0.0
    assert (
        1.0 in alarms.values() or 1.0 in world.alarms(**labels, anomaly_kind=event["kind"]).values()
    )
    assert world.alarms(**labels | {"host": "b"}, anomaly_kind=closed["kind"]) == {}


def test_what_was_over_before_a_watch_began_is_no_event(world):
    """It is learned from, not told."""
    world.series = [({"host": "a"}, shifted(NOON_MS - 300 * STEP_MS, NOON_MS - 280 * STEP_MS))]
    world.watch()
    world.live(3)
    assert [row for row in world.events() if row["start_ms"] < NOON_MS - 100 * STEP_MS] == []


def test_who_remembers_nothing_goes_on_as_one_that_never_stopped(world, monkeypatch):
    """A new process each minute, or one for all: the same events to the last digit, whether the
    memory comes from the stored state or from the columns judged since.
    """
    monkeypatch.setattr(runner, "JOURNAL_STEPS_MAX", 4)
    calm, restless = world.watch(TENANT_A), world.watch(TENANT_B)
    lasting = world.runner()
    world.live(45, lambda watch: lasting if watch.id == calm.id else world.runner())
    assert shown(world.events(calm))
    assert shown(world.events(calm)) == shown(world.events(restless))


@pytest.mark.parametrize("path", ["/api/v1/query_range_arrow", "/api/v1/write", "finish"])
def test_a_killed_run_loses_and_doubles_nothing(world, monkeypatch, path):
    """Killed before the commit, between commit and alarms, or before the end of a run, again and
    again: the events and alarm samples are those of a watch that lived quietly.
    """
    calm = world.watch(TENANT_A, "calm")
    world.live(45)
    expected, alarms = shown(world.events(calm)), dict(world.written)
    assert expected
    assert alarms
    world.written.clear()
    world.now = START
    finish = claims.finish

    def killed(*arguments):
        if "finish" in world.killed_at:
            world.killed_at.remove("finish")
            raise Killed
        finish(*arguments)

    monkeypatch.setattr(claims, "finish", killed)
    with world.engine.begin() as db:
        db.execute(text("UPDATE analysis.watch SET enabled = false"))
    tried = world.watch(TENANT_B, "calm")
    for minute in range(45):
        world.now = START + timedelta(minutes=minute + 1)
        world.killed_at = [path] if minute % 3 else []
        world.run_due(lambda _: world.runner())
    assert shown(world.events(tried)) == expected
    assert world.written == alarms


def test_a_sample_that_is_late_but_in_time_is_judged_as_any(world):
    """Half the time that a column waits changes nothing; what comes after its column was judged is
    not judged, and ends nothing else.
    """
    on_time = world.watch(TENANT_A)
    world.live(20)
    expected = shown(world.events(on_time))
    assert expected
    world.now, world.late = START, lambda _: 30_000
    late = world.watch(TENANT_B)
    world.live(20)
    assert shown(world.events(late)) == expected
    world.late = lambda ms: 600_000 if ms % (5 * STEP_MS) == 0 else 0
    world.live(20)
    assert world.read(late).error is None
    assert world.read(late).next_ms > NOON_MS + 37 * STEP_MS


def test_a_watch_over_its_bound_says_so_and_judges_the_first(world):
    """The series by name up to the bound are judged; the watch tells how many there are."""
    world.settings = world.settings.model_copy(update={"watch_series_max": 1})
    watch = world.watch()
    world.live(12)
    stored = world.read(watch)
    assert stored.series == 1
    assert "2 series, the limit is 1" in stored.error
    assert {row["labels"]["host"] for row in world.events()} == {"a"}


def test_a_series_that_comes_later_gets_its_place(world):
    """It is learned from its first sample on, beside those that were there."""
    comes_ms = NOON_MS + 10 * STEP_MS
    world.series.append(({"host": "c"}, lambda ms: steady(ms) if ms >= comes_ms else None))
    watch = world.watch()
    world.live(5)
    assert world.read(watch).series == 2
    world.live(15, lambda _: world.runner())
    assert world.read(watch).series == 3


def test_a_query_without_series_is_no_error(world, monkeypatch):
    """Nothing is judged until something comes, whatever was stored meanwhile."""
    monkeypatch.setattr(runner, "JOURNAL_STEPS_MAX", 3)
    cpu, world.series = world.series, []
    watch = world.watch()
    world.live(6, lambda _: world.runner())
    world.series = cpu
    world.live(4, lambda _: world.runner())
    stored = world.read(watch)
    assert (stored.error, stored.series) == (None, 2)


def test_a_series_that_vanished_ends_as_missing(world, monkeypatch):
    """Its event is open while it may come back; let go, it is closed and has no place any more."""
    monkeypatch.setattr(runner, "FORGET_MS", 60 * STEP_MS)
    monkeypatch.setattr(runner, "JOURNAL_STEPS_MAX", 10)
    gone_ms = NOON_MS + 5 * STEP_MS
    world.series[0] = ({"host": "a"}, lambda ms: steady(ms) if ms < gone_ms else None)
    watch = world.watch()
    world.live(40)
    (event,) = world.events()
    assert (event["kind"], event["end_ms"]) == ("missing", None)
    world.live(40)
    (event,) = world.events()
    assert event["end_ms"] > gone_ms
    assert world.read(watch).series == 1


def test_a_late_watch_catches_up_in_bounded_pieces(world):
    """After hours away it reads what it missed, no piece over its bound; after longer than it
    learns from, it begins anew with that much of the past.
    """
    watch = world.watch()
    world.live(2)
    world.now += timedelta(hours=10)
    world.settings = world.settings.model_copy(update={"watch_series_max": 5_000})
    stored = world.read(watch)
    now_ms = int(world.now.timestamp() * 1000)
    piece = next_piece(stored, now_ms, world.settings)
    assert (piece.first_ms, piece.is_afresh) == (stored.next_ms, False)
    assert (piece.end_ms - piece.first_ms) // STEP_MS <= runner.PIECE_STEPS_MAX
    world.live(1)
    assert world.read(watch).next_ms > now_ms - 3 * STEP_MS
    world.now += timedelta(days=9)
    now_ms = int(world.now.timestamp() * 1000)
    piece = next_piece(world.read(watch), now_ms, world.settings)
    assert piece.is_afresh
    assert now_ms - piece.first_ms <= 86_400_000 + 2 * STEP_MS


def test_another_question_is_learned_anew_and_fences_the_old_run(world):
    """A run of the old question, still under way, stores nothing; open events are closed."""
    watch = world.watch()
    world.live(12)
    (event,) = world.events()
    world.now += timedelta(minutes=1)
    (claim,) = world.claim()
    world.change(watch, query="other")
    with pytest.raises(claims.LeaseLost):
        anyio.run(world.runner().run, claim)
    assert world.events()[0]["end_ms"] is not None
    assert world.read(watch).next_ms is None
    world.live(1)
    assert world.read(watch).next_ms is not None
    assert event["id"] in {row["id"] for row in world.events()}


def test_trouble_with_another_service_is_told_and_tried_again(world):
    """The watch carries what das said; when das is back, it goes on and the error is gone."""
    watch = world.watch()
    world.live(3)
    before = world.read(watch).next_ms
    refusal = httpx.Response(422, json={"error": "the query is too wide"})
    world.refuse["/api/v1/query_range_arrow"] = [refusal]
    world.live(1)
    assert "too wide" in world.read(watch).error
    world.live(1)
    stored = world.read(watch)
    assert (stored.error, stored.attempts) == (None, 0)
    assert stored.next_ms == before + 2 * STEP_MS


def test_alarms_that_could_not_be_written_are_made_up_for(world):
    """While dis is away events are stored all the same; back again, it gets every sample."""
    watch = world.watch()
    world.live(7)
    world.refuse["/api/v1/write"] = [httpx.Response(400, text="no") for _ in range(50)]
    world.live(6)
    assert "alarm series not written" in world.read(watch).error
    world.refuse.clear()
    world.live(8)
    assert world.read(watch).error is None
    (event,) = world.events()
    samples = {}
    for kind in (event["kind"], *event["former_kinds"]):
        labels = {"watch": "cpu", "source_metric": "cpu", "host": "a", "anomaly_kind": kind}
        samples |= world.alarms(**labels)
    first, last = min(samples), max(samples)
    assert sorted(samples) == list(range(first, last + 1, STEP_MS))


def test_an_event_names_what_began_shortly_before_and_new_versions(world):
    """Companions of the minutes before, of any watch of the tenant, oldest first; and a version
    that was not there a quarter of an hour ago, when it is of the same job.
    """
    early = shifted(SHIFT_MS - 4 * STEP_MS)
    world.series = [
        ({"job": "db"}, lambda ms: early(ms) * 2),
        ({"job": "api"}, shifted(SHIFT_MS)),
    ]
    world.found = [{"job": "api", "version": "2.0"}, {"job": "web", "version": "3.1"}]
    world.watch()
    world.live(12)
    causes = {row["labels"]["job"]: row["because_of"] for row in world.events()}
    (companion, version) = causes["api"]
    assert (companion["labels"], companion["watch"]) == ({"job": "db"}, "cpu")
    assert version == {"job": "api", "version": "2.0"}


def test_a_silence_marks_events_and_stops_their_alarms(world):
    """Silenced events are stored and marked, not shown by default, and alarm nobody; when the
    silence is gone while they last, they are shown and alarm.
    """
    watch = world.watch()
    with world.engine.begin() as db:
        wanted = {"matchers": {"host": "a"}, "comment": "", "by": "key:x"}
        wanted["until"] = world.now + timedelta(hours=1)
        silence = events.silence(db, TENANT_A, wanted, world.now)
    world.live(10)
    (event,) = world.events(watch)
    assert event["silenced_until"] == wanted["until"]
    assert world.feed() == []
    assert [row["id"] for row in world.feed(silenced=True)] == [event["id"]]
    assert {one for samples in world.written.values() for one in samples.values()} == {0.0}
    with world.engine.begin() as db:
        events.end_silence(db, TENANT_A, silence["id"], world.now)
    assert [row["id"] for row in world.feed()] == [event["id"]]
    world.live(2)
    assert 1.0 in {one for samples in world.written.values() for one in samples.values()}


def test_a_new_tenant_gets_watches_for_what_it_has_and_what_it_deletes_stays_away(world):
    """A metric that is seen makes its watch, once; another metric later makes its own."""
    world.tenants = [str(TENANT_A), str(TENANT_B)]
    world.found = [
        {"__name__": "up", "row": "0"},
        {"__name__": "http_requests_total", "row": "1"},
        {"__name__": "http_requests_total", "row": "3"},
    ]
    anyio.run(world.seeder().round)
    names = ["errors: http_requests_total", "requests: http_requests_total", "targets up"]
    assert [one.name for one in world.watches(TENANT_A)] == names
    assert [one.name for one in world.watches(TENANT_B)] == names
    world.delete(world.watches(TENANT_A)[0])
    world.now += timedelta(minutes=6)
    world.found = [*world.found, {"__name__": "node_cpu_seconds_total", "row": "6"}]
    anyio.run(world.seeder().round)
    assert [one.name for one in world.watches(TENANT_A)] == ["host: CPU busy", *names[1:]]
    share = next(one for one in world.watches(TENANT_B) if one.name.startswith("errors"))
    assert 'http_requests_total{code=~"5.."}' in share.query


def test_the_question_for_metrics_has_a_part_for_each_default(world):
    """Every row of the table is asked for by its number, and formats for a metric."""
    question = defaults.question()
    for row, default in enumerate(defaults.DEFAULTS):
        assert f'"row", "{row}"' in question
        assert "{metric}" not in default.query.format(metric="m")
    assert question.count("label_replace") == len(defaults.DEFAULTS)


def test_tenants_take_turns(world):
    """One with many due watches delays another's single one by one watch; a batch has one token."""
    for number in range(20):
        world.watch(TENANT_A, f"n{number}", count_max=50)
    only = world.watch(TENANT_B)
    batch = world.claim()
    assert len(batch) == claims.BATCH
    assert only.id in [claim.watch.id for claim in batch[:2]]
    assert len({claim.token for claim in batch}) == 1


def test_what_took_its_process_along_runs_alone(world):
    """Of a batch whose process was lost each watch runs on its own, after a growing wait."""
    for number in range(3):
        world.watch(name=f"n{number}")
    batch = world.claim()
    with world.engine.begin() as db:
        claims.try_again(db, batch[0].token, world.now, "its process ended")
    assert world.claim() == []
    world.now += timedelta(seconds=6)
    assert len(world.claim()) == 1


def test_old_events_are_swept_and_open_ones_stay(world):
    """Closed events go after their retention, a bounded number a call."""
    world.watch()
    world.live(12)
    (event,) = world.events()
    with world.engine.begin() as db:
        assert events.sweep(db, world.now + timedelta(days=91), 90) == 0
        db.execute(text("UPDATE analysis.event SET end_ms = start_ms"))
        assert events.sweep(db, world.now + timedelta(days=89), 90) == 0
        assert events.sweep(db, world.now + timedelta(days=91), 90) == 1
    assert world.events() == []
    assert event["end_ms"] is None
