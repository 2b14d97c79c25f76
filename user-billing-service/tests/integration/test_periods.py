"""The hours of a period become what a slow, obvious computation over the same rows says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from user_billing.chassis.postgres import open_engine
from user_billing.db.session import Database
from user_billing.identifiers import new_id
from user_billing.meters.rules import Aggregation
from user_billing.usage import sql
from user_billing.usage.rules import Reading, Report

START = datetime(2026, 5, 1, tzinfo=UTC)
HOURS = 6
END = START + timedelta(hours=HOURS)

quantities = st.decimals(0, 10**9, places=9)
hours = st.dictionaries(st.integers(-1, HOURS), quantities, max_size=HOURS)
minutes = st.lists(st.integers(0, 9), min_size=60, max_size=60).map(tuple)


@pytest.fixture(scope="module")
def database(database_url):
    engine = open_engine(
        database_url, "tests", pool_size=1, overflow=0,
        statement_timeout_ms=600_000, lock_timeout_ms=600_000,
    )  # fmt: skip
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def organisation(database):
    return lambda: make_organisation(database)


def make_organisation(database):
    """The id of a new one, made as the login: how people make them is not what is tested."""
    org = new_id()
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO billing.organisation (id, name, slug, plan, created_at)"
            " VALUES (%s, 'Periods', %s, 'showback', now())",
            (str(org), org.hex),
        )
        for aggregation in Aggregation:
            connection.exec_driver_sql(
                "INSERT INTO billing.meter VALUES (%s, %s, 'things', %s, 'a rule', now())",
                (str(org), f"own_{aggregation}", aggregation.value),
            )
    return org


def put(database, org, meter, readings):
    """Hourly rows: hour after START → reading."""
    reports = [
        Report(org, START + timedelta(hours=hour), 1, {meter: reading})
        for hour, reading in readings.items()
    ]
    with database.organisation(org) as session:
        sql.put(session, "events", reports, END)


def of_period(database, org, start=START, end=END):
    with database.organisation(org) as session:
        return sql.period_usage(session, org, start, end)


def to_9_decimals(exact):
    """Half away from zero."""
    scaled = exact * 10**9
    return Decimal(int(scaled + Fraction(1, 2))).scaleb(-9)


SEVERAL = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SEVERAL
@given(hours)
def test_sum_count_max_and_latest_are_of_the_hours_that_begin_in_the_period(
    database, organisation, rows
):
    """Hours before the start and from the end on count nothing."""
    org = organisation()
    for aggregation in ("sum", "count", "max", "latest"):
        readings = {hour: Reading(quantity) for hour, quantity in rows.items()}
        put(database, org, f"own_{aggregation}", readings)
    inside = {hour: quantity for hour, quantity in rows.items() if 0 <= hour < HOURS}
    usage = of_period(database, org)
    assert usage["own_sum"].quantity == sum(inside.values(), Decimal(0))
    assert usage["own_count"].quantity == sum(inside.values(), Decimal(0))
    assert usage["own_max"].quantity == max(inside.values(), default=0)
    assert usage["own_latest"].quantity == (inside[max(inside)] if inside else 0)
    assert usage["own_sum"].hours == len(inside)


@SEVERAL
@given(st.dictionaries(st.integers(-1, HOURS), minutes, max_size=HOURS))
def test_p95_is_the_nearest_rank_of_the_minutes(database, organisation, rows):
    """Of n minutes in order the one at place ceil(0.95 n), counted from 1."""
    org = organisation()
    readings = {hour: Reading(Decimal(max(of)), of) for hour, of in rows.items()}
    put(database, org, "own_p95", readings)
    inside = sorted(number for hour, of in rows.items() if 0 <= hour < HOURS for number in of)
    place = next((n for n in range(1, len(inside) + 1) if 100 * n >= 95 * len(inside)), 0)
    assert of_period(database, org)["own_p95"].quantity == (inside[place - 1] if place else 0)


@SEVERAL
@given(
    st.dictionaries(st.integers(0, HOURS - 1), st.tuples(quantities, st.sampled_from([1, 2, 3])))
)
def test_a_time_average_is_over_all_hours_of_the_period(database, organisation, rows):
    """An hour is the mean of its values to 9 decimals, 0 without one."""
    org = organisation()
    readings = {
        hour: Reading(quantity, readings=values) for hour, (quantity, values) in rows.items()
    }
    put(database, org, "own_time_average", readings)
    means = [
        Fraction(to_9_decimals(Fraction(quantity) / values)) for quantity, values in rows.values()
    ]
    expected = to_9_decimals(sum(means, Fraction(0)) / HOURS)
    assert of_period(database, org)["own_time_average"].quantity == expected


@SEVERAL
@given(st.dictionaries(st.integers(-1, HOURS), st.sets(st.sampled_from("abcdef"), min_size=1)))
def test_unique_is_of_the_whole_period(database, organisation, rows):
    """A value of several hours counts once."""
    org = organisation()
    put(database, org, "own_unique", {hour: Reading(Decimal(len(of))) for hour, of in rows.items()})
    with database.organisation(org) as session:
        for hour, texts in rows.items():
            place = "own_unique", START + timedelta(hours=hour)
            sql.add_values(session, org, [(place, text) for text in texts])
    inside = set().union(*(of for hour, of in rows.items() if 0 <= hour < HOURS))
    usage = of_period(database, org)["own_unique"]
    assert (usage.quantity, usage.hours) == (len(inside), len(set(rows) & set(range(HOURS))))


def test_bytes_become_gib(database, organisation):
    """Half the hours 3 GiB, the other half nothing: 1.5 GiB."""
    org = organisation()
    put(database, org, "stored_bytes", {hour: Reading(Decimal(3 * 2**30)) for hour in range(3)})
    assert of_period(database, org)["stored_gib_month"].quantity == Decimal("1.5")


def test_periods_of_any_zone_share_out_all_hours(database, organisation):
    """Bounds off the hour: an hour belongs to the period that it begins in, and to no other."""
    org = organisation()
    put(database, org, "samples", {hour: Reading(Decimal(10**hour)) for hour in range(HOURS)})
    middle = START + timedelta(hours=2, minutes=15)
    first, second = of_period(database, org, end=middle), of_period(database, org, start=middle)
    assert (first["samples_ingested"].quantity, first["samples_ingested"].hours) == (111, 3)
    assert second["samples_ingested"].quantity == 111_000


def test_the_digest_is_of_the_rows_and_nothing_else(database, organisation):
    """It can be computed from the rows by hand; another quantity is another digest, a mere
    repetition of what was said is not.
    """
    org = organisation()
    put(database, org, "samples", {1: Reading(Decimal(5)), 0: Reading(Decimal("2.5"))})
    lines = [
        f"{int((START + timedelta(hours=hour)).timestamp())} events {quantity} 1 "
        for hour, quantity in ((0, "2.500000000"), (1, "5.000000000"))
    ]
    digest = of_period(database, org)["samples_ingested"].digest
    assert digest == sha256("\n".join(lines).encode()).hexdigest()
    again = Report(org, START, 2, {"samples": Reading(Decimal("2.5"))})
    with database.organisation(org) as session:
        sql.put(session, "events", [again], END)
    assert of_period(database, org)["samples_ingested"].digest == digest
    more = Report(org, START, 3, {"samples": Reading(Decimal("2.6"))})
    with database.organisation(org) as session:
        sql.put(session, "events", [more], END)
    assert of_period(database, org)["samples_ingested"].digest != digest


def test_every_meter_has_an_answer(database, organisation):
    """Without a row it is 0 of 0 hours."""
    usage = of_period(database, organisation())
    built_in = {
        "samples_ingested", "active_series", "stored_gib_month", "query_samples", "analysis_runs",
        "seats",
    }  # fmt: skip
    assert built_in <= set(usage)
    assert {(of.quantity, of.hours) for of in usage.values()} == {(Decimal(0), 0)}
