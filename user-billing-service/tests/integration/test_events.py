"""Events of own meters count once, however they are sent; backfills count when they are closed."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from user_billing.meters.rules import Aggregation
from user_billing.usage import events as event_rules
from user_billing.usage.tables import usage_event

BATCH = "application/cloudevents-batch+json"
ONE = "application/cloudevents+json"


@pytest.fixture(scope="module")
def now(hub):
    """The hub's time, at half past an hour so that hours and minutes around it are one day's."""
    hub.clock.instant = hub.clock.instant.replace(hour=12, minute=30, second=0, microsecond=0)
    return hub.clock.instant


def new_team(hub):
    """A new organisation with a meter of each aggregation and a key that sends events."""
    owner = hub.owner("Events")
    for aggregation in Aggregation:
        body = {"code": f"own_{aggregation}", "unit": "things", "aggregation": aggregation}
        assert owner.post("/api/v1/meters", body).status_code == 201
    owner.key = owner.new_key("metrics:write")["key"]
    owner.hub = hub
    return owner


@pytest.fixture
def team(hub, now):
    return new_team(hub)


@pytest.fixture(scope="module")
def anyone(hub, now):
    """A team whose usage no test looks at."""
    return new_team(hub)


def event(at, id_="1", meter="own_sum", value="5", source="shop", **more):
    return {
        "specversion": "1.0", "source": source, "id": id_, "type": meter,
        "time": at.isoformat(), "data": {"value": value}, **more,
    }  # fmt: skip


def send(team, rows, content_type=BATCH, **params):
    return httpx.post(
        f"{team.hub.base_url}/api/v1/usage/events",
        content=rows if isinstance(rows, bytes) else json.dumps(rows),
        headers={"X-API-Key": team.key, "Content-Type": content_type},
        params=params,
        timeout=600,
    )


def outcomes(team, rows, **params):
    answer = send(team, rows, **params)
    assert answer.status_code == 200, answer.text
    return [outcome["outcome"] for outcome in answer.json()["outcomes"]]


def quantities(team, now):
    """Meter → its quantity around now, without zeros and seats."""
    start, end = now - timedelta(days=20), now + timedelta(days=20)
    usage = team.hub.services.usage.of_period(UUID(team.org), start, end)
    return {
        code.removeprefix("own_"): of.quantity
        for code, of in usage.items()
        if of.quantity and code != "seats"
    }


sent_events = st.lists(
    st.tuples(
        st.sampled_from(sorted(Aggregation)),
        st.integers(0, 180),  # minutes ago
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


def expected(rows, now):
    """What all meters say, by the slow and obvious way."""
    by_meter = {}
    for aggregation, ago, value in rows:
        by_meter.setdefault(aggregation, []).append((now - timedelta(minutes=ago), value))
    numbers = {}
    for aggregation, of in by_meter.items():
        values, hours = [value for _, value in of], {}
        for at, value in of:
            hours.setdefault(at.replace(minute=0), []).append((at.minute, value))
        minutes = sorted(
            max((value for at, value in hour if at == minute), default=0)
            for hour in hours.values()
            for minute in range(60)
        )
        means = sum(
            (Decimal(sum(v for _, v in hour)) / len(hour)).quantize(Decimal("1e-9"))
            for hour in hours.values()
        )
        numbers[aggregation.value] = {
            "sum": sum(values),
            "count": len(values),
            "max": max(values),
            "latest": max(of)[1],
            "unique": len(set(values)),
            "p95": minutes[-(-95 * len(minutes) // 100) - 1],
            "time_average": (means / (40 * 24)).quantize(Decimal("1e-9")),
        }[aggregation.value]
    return {meter: number for meter, number in numbers.items() if number}


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent_events, st.randoms(use_true_random=False))
def test_any_order_any_repetition_any_batches_give_the_same(hub, now, rows, chance):
    """Each event is sent one to three times, shuffled, in batches of any size: every aggregation is
    what it is of the events sent once.
    """
    team = new_team(hub)
    sent = [
        event(now - timedelta(minutes=ago), str(n), f"own_{aggregation}", str(value))
        for n, (aggregation, ago, value) in enumerate(rows)
        for _ in range(chance.randint(1, 3))
    ]
    chance.shuffle(sent)
    while sent:
        size = chance.randint(1, 5)
        assert set(outcomes(team, sent[:size])) <= {"accepted", "duplicate"}
        sent = sent[size:]
    assert quantities(team, now) == expected(rows, now)


def test_one_identity_cannot_say_two_things(team, now):
    """The first stands; the row is a conflict, the others are accepted, the audit log tells."""
    at = now - timedelta(minutes=5)
    assert outcomes(team, [event(at)]) == ["accepted"]
    assert outcomes(team, [event(at, value="6"), event(at, "2"), event(at)]) == [
        "conflict", "accepted", "duplicate",
    ]  # fmt: skip
    assert outcomes(team, [event(at, "3"), event(at, "3", value="4")]) == ["accepted", "conflict"]
    assert quantities(team, now) == {"sum": 15}
    actions = [row["action"] for row in team.get("/api/v1/audit").json()["events"]]
    assert actions.count("usage.event.conflict") == 2


def test_the_same_number_written_differently_is_the_same(team, now):
    at = now - timedelta(minutes=5)
    body = json.dumps([event(at, "1", value="V")] * 4)
    for written in ('"5"', "5", "5.000", '"5.0"'):
        body = body.replace('"V"', written, 1)
    same_instant = at.astimezone(tz=UTC).isoformat().replace("+00:00", "Z")
    assert outcomes(team, body.encode()) == ["accepted"] + ["duplicate"] * 3
    assert outcomes(team, [event(at, "1") | {"time": same_instant}]) == ["duplicate"]


def test_a_single_event_has_the_status_of_its_outcome(team, now):
    """Structured mode: 200, again 200, another content 409, one that cannot be 400."""
    at = now - timedelta(minutes=5)
    rows = [event(at), event(at), event(at, value="6"), event(at, "2", meter="beans")]
    assert [send(team, row, ONE).status_code for row in rows] == [200, 200, 409, 400]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"type": "beans"}, "type"),
        ({"type": "samples"}, "type"),
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": "x" * 257}, "256"),
        ({"source": "a\u0000b"}, "source"),
        ({"time": "yesterday"}, "time"),
        ({"time": None}, "time"),
        ({"time": "2026-05-01T12:00:00"}, "time"),
        ({"data": {"value": "-1"}}, "number"),
        ({"data": {"value": True}}, "number"),
        ({"data": {"value": "1e3"}}, "number"),
        ({"data": {"value": "0.0000000001"}}, "9 decimals"),
        ({"data": {"value": 10**18}}, "10^18"),
        ({"data": {}}, "number"),
        ({"data": "5"}, "number"),
        ({"type": "own_p95", "data": {"value": "1.5"}}, "whole"),
        ({"type": "own_unique", "data": {"value": 5}}, "text"),
        ({"type": "own_unique", "data": {"value": "x" * 129}}, "128"),
    ],
    ids=str,
)
def test_a_row_that_cannot_be_is_refused_by_name_and_the_others_count(anyone, now, changed, word):
    at = now - timedelta(minutes=5)
    answer = send(anyone, [event(at, "0") | changed, event(at, f"beside {changed}"[:100])])
    assert answer.status_code == 200, answer.text
    refused, accepted = answer.json()["outcomes"]
    assert (refused["outcome"], accepted["outcome"]) == ("refused", "accepted")
    assert word in refused["reason"]


def test_times_have_bounds(team, now):
    """Not in the future, not before what can be corrected; both ends are inside."""
    first, last = now - event_rules.CORRECTABLE_FOR, now + event_rules.AHEAD
    second = timedelta(seconds=1)
    rows = [event(at, str(n)) for n, at in enumerate((first, last, last + second, first - second))]
    assert outcomes(team, rows) == ["accepted", "accepted", "refused", "refused"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "word"),
    [
        (b"[]", BATCH, 400, "events_max"),
        (b"{}", BATCH, 400, "list"),
        (b"[{}]", ONE, 400, "object"),
        (b"{", ONE, 400, "JSON"),
        (b"[" * 100_000, BATCH, 400, "JSON"),
        (b"[1e99999999999999999999]", BATCH, 400, "JSON"),
        (b"{}", "application/json", 400, "cloudevents"),
        (b"[" + b"0," * 1000 + b"0]", BATCH, 400, "1000"),
        (b" " * (2**20 + 1), BATCH, 413, "1048576"),
    ],
    ids=range(9),
)
def test_a_request_that_cannot_be_is_refused_by_name(anyone, content, content_type, status, word):
    answer = send(anyone, content, content_type)
    assert answer.status_code == status, answer.text
    assert word in answer.text


def test_distinct_values_have_a_bound(team, now, monkeypatch):
    """What is there already is always taken; a new one too many is refused, naming the limit."""
    monkeypatch.setattr(event_rules, "DISTINCT_MAX", 3)
    at = now - timedelta(minutes=5)

    def rows(values, start):
        return [event(at, str(n), "own_unique", value) for n, value in enumerate(values, start)]

    assert outcomes(team, rows("abab", 0)) == ["accepted"] * 4
    answer = send(team, rows("acda", 10)).json()["outcomes"]
    assert [row["outcome"] for row in answer] == ["accepted", "accepted", "refused", "accepted"]
    assert "distinct_max=3" in answer[2]["reason"]
    assert quantities(team, now) == {"unique": 3}


def test_a_backfill_counts_when_it_is_closed(team, now):
    """Until then nothing counts, also what is sent twice; afterwards it is as if sent plainly."""
    at = now - timedelta(days=1)
    opened = team.post("/api/v1/usage/backfills").json()
    rows = [event(at, str(n), f"own_{of}", "7") for n, of in enumerate(sorted(Aggregation))]
    assert set(outcomes(team, rows, backfill=opened["id"])) == {"accepted"}
    assert set(outcomes(team, rows, backfill=opened["id"])) == {"duplicate"}
    assert set(outcomes(team, rows)) == {"conflict"}
    assert quantities(team, now) == {}
    closed = team.post(f"/api/v1/usage/backfills/{opened['id']}/close").json()
    assert (closed["outcome"], closed["events"]) == ("closed", len(rows))
    assert quantities(team, now) == expected([(of, 1440, 7) for of in sorted(Aggregation)], now)
    assert set(outcomes(team, rows)) == {"duplicate"}
    assert send(team, rows, backfill=opened["id"]).status_code == 409
    assert team.post(f"/api/v1/usage/backfills/{opened['id']}/revert").status_code == 409


def test_a_reverted_backfill_was_never_sent(team, now):
    """Its identities are free again, also with another content."""
    at = now - timedelta(days=1)
    outcomes(team, [event(at, "0", value="1")])
    opened = team.post("/api/v1/usage/backfills").json()
    outcomes(team, [event(at, value="9"), event(at, "2", "own_unique", "a")], backfill=opened["id"])
    assert team.post(f"/api/v1/usage/backfills/{opened['id']}/revert").status_code == 200
    assert quantities(team, now) == {"sum": 1}
    assert outcomes(team, [event(at, value="8")]) == ["accepted"]
    assert quantities(team, now) == {"sum": 9}


def test_a_backfill_lives_for_days_not_for_ever(hub, team, now):
    """When its time is over it takes and closes no more, and upkeep reverts it."""
    opened = team.post("/api/v1/usage/backfills").json()
    outcomes(team, [event(now - timedelta(minutes=5))], backfill=opened["id"])
    hub.clock.advance(days=7)
    try:
        team = hub.log_in(team.session["user"]["email"])
        assert team.post(f"/api/v1/usage/backfills/{opened['id']}/close").status_code == 409
        hub.services.intake.upkeep()
        (listed,) = team.get("/api/v1/usage/backfills").json()["backfills"]
        assert (listed["outcome"], listed["events"]) == ("reverted", 0)
    finally:
        hub.clock.advance(days=-7)


def test_open_backfills_have_a_bound(team):
    answers = [team.post("/api/v1/usage/backfills") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [201] * 10 + [409]
    assert "open_max=10" in answers[-1].text


def test_identities_live_as_long_as_they_could_count_twice(hub, team, now):
    """Whenever an event is sent again it is a duplicate or too old, until nobody knows it."""
    rows = [event(now - timedelta(minutes=5))]
    outcomes(team, rows)
    again = []
    for days in (50, 92, 94, 99, 101):
        hub.clock.advance(days=days)
        hub.services.intake.upkeep()
        again += outcomes(team, rows)
        hub.clock.advance(days=-days)
    assert again == ["duplicate", "duplicate", "refused", "refused", "refused"]
    with hub.services.database.organisation(UUID(team.org)) as session:
        assert session.execute(select(usage_event)).all() == []
    assert quantities(team, now) == {"sum": 5}


def test_a_meter_never_changes(team, now):
    """The same again is the same; another rule is a conflict; used ones stay, unused ones go."""
    same = {"code": "own_sum", "unit": "things", "aggregation": "sum"}
    assert team.post("/api/v1/meters", same).status_code == 201
    assert team.post("/api/v1/meters", same | {"aggregation": "max"}).status_code == 409
    for code in ("samples", "seats", "Beans", "9", "x" * 64):
        assert team.post("/api/v1/meters", same | {"code": code}).status_code == 400, code
    outcomes(team, [event(now - timedelta(minutes=5))])
    opened = team.post("/api/v1/usage/backfills").json()
    outcomes(team, [event(now, "w", "own_max")], backfill=opened["id"])
    statuses = [
        team.delete(f"/api/v1/meters/own_{of}").status_code
        for of in ("sum", "max", "count", "count")
    ]
    assert statuses == [409, 409, 204, 404]
    codes = [meter["code"] for meter in team.get("/api/v1/meters").json()["meters"]]
    assert codes[:2] == ["samples_ingested", "active_series"]
    assert "own_count" not in codes


def test_who_may_do_what(hub, team, now):
    """Events need `metrics:write`; meters and backfills an administrator; reading a reader."""
    viewer = hub.member(team, "viewer")
    body = {"code": "more", "unit": "x", "aggregation": "sum"}
    assert viewer.post("/api/v1/meters", body).status_code == 403
    assert viewer.post("/api/v1/usage/backfills").status_code == 403
    team.key = team.new_key("metrics:read", "billing:read")["key"]
    assert send(team, [event(now)]).status_code == 403
    reader = {"X-API-Key": team.key}
    for path in ("meters", "usage/backfills"):
        assert (
            httpx.get(f"{hub.base_url}/api/v1/{path}", headers=reader, timeout=600).status_code
            == 200
        )


def test_two_organisations_have_the_same_names(hub, team, now):
    """Source, id, meter and value of one say nothing about another's."""
    other = new_team(hub)
    row = event(now - timedelta(minutes=5), meter="own_unique", value="a")
    assert outcomes(team, [row]) == outcomes(other, [row]) == ["accepted"]
    opened = team.post("/api/v1/usage/backfills").json()
    assert send(other, [row], backfill=opened["id"]).status_code == 404
    assert other.post(f"/api/v1/usage/backfills/{opened['id']}/close").status_code == 404


def test_seats_are_the_most_members_of_an_hour(hub, team, now):
    """Counted by the hour; who leaves within it was there."""
    hub.services.intake.upkeep()
    viewer = hub.member(team, "viewer")
    hub.services.intake.upkeep()
    assert team.delete(f"/api/v1/members/{viewer.user_id}").status_code == 204
    hub.services.intake.upkeep()
    usage = hub.services.usage.of_period(UUID(team.org), now, now + timedelta(hours=1))
    assert usage["seats"].quantity == 0, "the hour began before the period"
    start = now - timedelta(hours=1)
    first = hub.services.usage.of_period(UUID(team.org), start, now)["seats"]
    members = len(team.get("/api/v1/members").json()["members"])
    assert (first.quantity, first.hours) == (members + 1, 1)


def test_senders_at_once_count_each_event_once(team, now):
    """Eight threads send overlapping batches, as agents that retry do."""
    rows = [event(now - timedelta(minutes=n), str(n), value="1") for n in range(30)]
    rows += [event(now, f"u{n}", "own_unique", "abc"[n % 3]) for n in range(9)]
    chance = random.Random(3)
    parts = [chance.sample(rows, 20) for _ in range(16)] + [rows]
    with ThreadPoolExecutor(8) as pool:
        accepted = [row for part in pool.map(partial(outcomes, team), parts) for row in part]
    assert accepted.count("accepted") == len(rows)
    assert set(accepted) == {"accepted", "duplicate"}
    assert quantities(team, now) == {"sum": 30, "unique": 3}


def test_what_became_known_later_shows_when(hub, team, now):
    """A bucket says when the last of it was received; the hour it belongs to stays the same."""
    outcomes(team, [event(now - timedelta(hours=2))])
    hub.clock.advance(hours=3)
    try:
        outcomes(team, [event(now - timedelta(hours=2), "2")])
        usage = team.get("/api/v1/usage", params={"step": "month"}).json()["usage"]
    finally:
        hub.clock.advance(hours=-3)
    (bucket,) = [bucket for bucket in usage if bucket["meter"] == "own_sum"]
    assert (bucket["sum"], bucket["unit"]) == ("10", "things")
    assert datetime.fromisoformat(bucket["received_at"]) == now + timedelta(hours=3)
