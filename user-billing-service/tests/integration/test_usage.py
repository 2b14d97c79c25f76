"""Usage arrives once, however it is sent, and is told as it was counted."""

import random
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from conftest import INTERNAL

HOUR = datetime(2026, 5, 1, 12, tzinfo=UTC)


def report(org, hour, revision, samples, minutes=()):
    meters = {"samples": {"quantity": str(samples)}, "stored_bytes": {"quantity": "1000.5"}}
    if minutes:
        meters["active_series"] = {"minutes": list(minutes)}
    return {"tenant": org, "hour": hour.isoformat(), "revision": revision, "meters": meters}


def send(hub, *reports, source="dis", headers=INTERNAL, **more):
    body = {"source": source, "reports": reports, **more}
    return httpx.post(f"{hub.base_url}/internal/usage", json=body, headers=headers, timeout=600)


def outcomes(hub, *reports):
    answer = send(hub, *reports)
    assert answer.status_code == 200, answer.text
    return answer.json()["outcomes"]


def buckets(owner, meter, step="hour", start=HOUR, end=HOUR + timedelta(days=40)):
    answer = owner.get(
        "/api/v1/usage",
        params={"start": start.isoformat(), "end": end.isoformat(), "step": step},
    )
    assert answer.status_code == 200, answer.text
    return [bucket for bucket in answer.json()["usage"] if bucket["meter"] == meter]


def test_any_order_and_any_repetition_gives_the_same_hours(hub):
    """Reports are sent twice, shuffled, by several calls: each hour is its last revision."""
    owner, chance = hub.owner("Shuffled"), random.Random(7)
    reports = [
        report(owner.org, HOUR + timedelta(hours=hour), revision, 100 * hour + revision)
        for hour in range(3)
        for revision in range(1, 6)
    ] * 2
    chance.shuffle(reports)
    while reports:
        size = chance.randint(1, 4)
        taken = outcomes(hub, *reports[:size])
        assert set(taken) <= {"stored", "older"}
        reports = reports[size:]
    assert [bucket["sum"] for bucket in buckets(owner, "samples")] == ["5", "105", "205"]


def test_one_revision_cannot_say_two_things(hub):
    """The first stands, and the audit log tells of the other; later revisions go on."""
    owner = hub.owner("Conflict")
    assert outcomes(hub, report(owner.org, HOUR, 1, 10)) == ["stored"]
    assert outcomes(hub, report(owner.org, HOUR, 1, 11)) == ["conflict"]
    assert buckets(owner, "samples")[0]["sum"] == "10"
    events = owner.get("/api/v1/audit").json()["events"]
    assert [event["action"] for event in events].count("usage.conflict") == 1
    assert outcomes(hub, report(owner.org, HOUR, 2, 11)) == ["stored"]
    assert buckets(owner, "samples")[0]["sum"] == "11"


def test_one_organisation_that_is_gone_holds_up_no_other(hub):
    """Its report is told apart, the others are stored."""
    owner = hub.owner("There")
    gone = report("00000000-0000-7000-8000-000000000000", HOUR, 1, 5)
    assert outcomes(hub, gone, report(owner.org, HOUR, 1, 10)) == ["unknown", "stored"]


def test_days_and_months_are_sums_and_the_p95_is_of_minutes(hub):
    """Nearest rank over the minutes of the bucket: of 120 numbers the 114th."""
    owner = hub.owner("Steps")
    first, second = range(1, 61), range(61, 121)
    outcomes(
        hub,
        report(owner.org, HOUR, 1, 10, first),
        report(owner.org, HOUR + timedelta(hours=1), 1, 20, second),
        report(owner.org, HOUR + timedelta(days=31), 1, 40),
    )
    assert [bucket["sum"] for bucket in buckets(owner, "samples", "day")] == ["30", "40"]
    assert [bucket["sum"] for bucket in buckets(owner, "samples", "month")] == ["30", "40"]
    (series,) = buckets(owner, "active_series", "day")
    assert (series["max"], series["p95"]) == ("120", "114")
    assert buckets(owner, "stored_bytes", "day")[0]["mean"] == "1000.5"


def test_complete_through_only_goes_forward(hub):
    """A source that starts again from an old state takes nothing back."""
    owner = hub.owner("Watermark")
    for hours in (1, 0):
        at = (HOUR + timedelta(hours=hours)).isoformat()
        assert send(hub, complete_through=at).status_code == 200
    told = owner.get("/api/v1/usage").json()["complete_through"]
    assert datetime.fromisoformat(told) >= HOUR + timedelta(hours=1)


def test_each_service_reports_its_own_meters_and_how_far_it_is(hub):
    """Das: what queries read, aps: runs; a source that never reported is told as such."""
    owner = hub.owner("Sources")
    for source, meter in (("das", "query_samples"), ("aps", "analysis_runs")):
        row = report(owner.org, HOUR, 1, 0) | {"meters": {meter: {"quantity": "7"}}}
        assert send(hub, row, source="dis").status_code == 400
        assert send(hub, row, source=source).json()["outcomes"] == ["stored"]
        assert buckets(owner, meter)[0]["sum"] == "7"
    assert send(hub, source="das", complete_through=HOUR.isoformat()).status_code == 200
    sources = owner.get("/api/v1/usage").json()["sources"]
    through = {row["source"]: row["complete_through"] for row in sources}
    assert set(through) == {"aps", "das", "dis"}
    assert datetime.fromisoformat(through["das"]) == HOUR
    assert through["aps"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"hour": "2026-05-01T12:30:00Z"},
        {"hour": "2026-05-01T12:00:00"},
        {"revision": 0},
        {"meters": {}},
        {"meters": {"beans": {"quantity": "1"}}},
        {"meters": {"samples": {"quantity": "-1"}}},
        {"meters": {"samples": {"quantity": "NaN"}}},
        {"meters": {"active_series": {"minutes": [1, 2]}}},
    ],
    ids=str,
)
def test_a_report_that_cannot_be_is_refused_and_nothing_is_taken(hub, wrong):
    owner = hub.owner("Refused")
    good = report(owner.org, HOUR, 1, 1)
    answer = send(hub, good, good | wrong)
    assert answer.status_code in {400, 422}, answer.text
    assert buckets(owner, "samples") == []


def test_only_the_source_itself_reports(hub):
    """A credential of an organisation reports nothing, whatever it may do."""
    owner = hub.owner("Outside")
    key = owner.new_key("admin", "billing:read")["key"]
    for headers in ({}, {"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert send(hub, report(owner.org, HOUR, 1, 1), headers=headers).status_code == 401


def test_a_range_is_checked(hub):
    """Backwards, too fine or without a zone is refused by name."""
    owner = hub.owner("Ranges")
    for given, word in (
        ({"start": "2026-05-02T00:00:00Z", "end": "2026-05-01T00:00:00Z"}, "after start"),
        ({"start": "2020-05-02T00:00:00Z", "step": "hour"}, "longer step"),
        ({"start": "2026-05-02T00:00:00"}, "start"),
        ({"step": "week"}, "step"),
    ):
        answer = owner.get("/api/v1/usage", params=given)
        assert answer.status_code == 400, answer.text
        assert word in answer.text
