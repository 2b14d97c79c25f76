"""Laws of the chassis's pure parts: settings, the meaning of SQLSTATEs, the clock."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from data_api.chassis.clock import Clock
from data_api.chassis.database import DatabaseTooSlow, DatabaseUnavailable, Schema, meaning
from data_api.chassis.settings import database_url, load
from data_api.settings import Settings

GOOD = {
    "DATABASE_URL": "postgresql://u@/x",
    "OBJECT_STORE_URL": "file:///x",
    "SERVICE_TOKEN": "s" * 43,
    "UBS_URL": "http://ubs",
}
METRICS = Schema("metrics", "data_ingest.migrate")


@pytest.fixture
def environment(monkeypatch):
    for name in (*GOOD, "HOST", "PORT", "DAS_DRAIN_S"):
        monkeypatch.delenv(name, raising=False)

    def setenv(**changed):
        for name, value in {**GOOD, **changed}.items():
            monkeypatch.setenv(name, value)

    return setenv


def test_names_are_bare_or_carry_the_code(environment):
    """Deployment names are bare; DAS_PORT, which Kubernetes sets for a Service, is not read."""
    environment(PORT="8123", DAS_PORT="tcp://10.0.0.1:8000", DAS_DRAIN_S="3", HOST="")
    settings = load(Settings)
    assert (settings.port, settings.drain_s, settings.host) == (8123, 3.0, "127.0.0.1")


def test_one_line_names_all_that_is_wrong_and_no_value(environment):
    """The start ends with one line; a secret's value is not in it."""
    environment(PORT="http", DAS_DRAIN_S="-1", SERVICE_TOKEN="too-short", UBS_URL="")
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    line = str(ended.value)
    assert line.startswith("data-api-service cannot start: ")
    assert "\n" not in line
    assert "too-short" not in line
    assert "UBS_URL is missing" in line
    assert all(f"{name}: " in line for name in ("PORT", "DAS_DRAIN_S", "SERVICE_TOKEN"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d",
        "postgres://u@/d?host=/run/a%40b",
        "postgresql:///d",
        "postgresql://u:a%40b%2Fc%25@h/d",
        "postgresql://h1:1,h2:2/d?target_session_attrs=any",
        "postgresql://[::1]:5/d",
        "postgresql://u@%2Frun%2Fx/d",
        "postgresql:///d?host=/run/x&port=5433&options=-c%20timezone%3DUTC",
    ],
)
def test_every_form_of_a_libpq_url_is_taken(url):
    """Sockets, several hosts, IPv6, escapes."""
    assert database_url(SecretStr(url)).get_secret_value() == url


@pytest.mark.parametrize(
    "password", ["Pa55@wo/rd", "ab%4zc", "a/b", "1/b", "a?b", "1?b", "a#b", "ab%00c"]
)
def test_a_password_that_breaks_its_url_is_refused_unseen(monkeypatch, password):
    """The start ends with the name of the variable and the way out, and no piece of the value."""
    for name in ("OBJECT_STORE_URL", "UBS_URL", "SERVICE_TOKEN"):
        monkeypatch.setenv(name, "file:///a-value-that-is-fine")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{password}@secret-host/d")
    with pytest.raises(SystemExit, match=r"DATABASE_URL: .*%40 for @") as end:
        load(Settings)
    assert password not in str(end.value)
    assert "secret-host" not in str(end.value)


@pytest.mark.parametrize(
    "query", ["hunter2", "password=hunter2&x", "password=hunt=er2", "password=hunter%002", "&a=b"]
)
def test_parameters_that_no_one_can_read_are_refused_unseen(query):
    """Libpq's complaint would quote them."""
    with pytest.raises(ValueError, match="name=value") as refused:
        database_url(SecretStr(f"postgresql://u@h/d?{query}"))
    assert "hunt" not in str(refused.value)


@pytest.mark.parametrize(
    ("sqlstate", "kind", "said"),
    [
        pytest.param(None, DatabaseUnavailable, "gone", id="no answer"),
        pytest.param("57P01", DatabaseUnavailable, "gone", id="shut down"),
        pytest.param("53300", DatabaseUnavailable, "gone", id="too many connections"),
        pytest.param("57014", DatabaseTooSlow, "in time", id="statement timeout"),
        pytest.param("55P03", DatabaseTooSlow, "in time", id="lock timeout"),
        pytest.param("42P01", DatabaseUnavailable, "data_ingest.migrate", id="no table"),
        pytest.param("3F000", DatabaseUnavailable, "data_ingest.migrate", id="no schema"),
    ],
)
def test_what_a_caller_may_try_again(sqlstate, kind, said):
    """Away, slow or not migrated: an error of ours with Retry-After and the driver's first line."""
    error = meaning(sqlstate, "gone\nHINT: secret", METRICS)
    assert type(error) is kind
    assert said in str(error)
    assert "HINT" not in str(error)
    assert error.facts["retry_after_s"] >= 1


@pytest.mark.parametrize("sqlstate", ["42601", "23505", "22003", "54000"])
def test_what_no_repetition_mends(sqlstate):
    """Syntax, constraints, data and sizes are not the database's trouble."""
    assert meaning(sqlstate, "no", METRICS) is None


def test_milliseconds_are_rounded_down():
    """`now_ms` is exact: no float is between the instant and its milliseconds."""

    class Fixed(Clock):
        def now(self):
            return datetime(2026, 1, 31, tzinfo=UTC) + timedelta(microseconds=122_999)

    assert Fixed().now_ms() % 1000 == 122
