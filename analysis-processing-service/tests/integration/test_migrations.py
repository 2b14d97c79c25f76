"""Migrations run down and up again, many at once, and say when they have not run."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from embedded_postgres import fresh_database
from neighbours import TENANT_A
from sqlalchemy import inspect

from analysis_processing import migrate
from analysis_processing.chassis.database import DatabaseUnavailable
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import engine_for, transaction
from analysis_processing.jobs.tables import metadata


@pytest.fixture
def url(server_url):
    with fresh_database(server_url, "aps_migrations") as url:
        yield url


@pytest.fixture
def bare(url):
    engine = engine_for(url)
    yield engine
    engine.dispose()


def test_up_down_up(url, bare):
    """Up makes the tables that the code declares, down removes them, and up works again."""
    for _ in range(2):
        migrate.upgrade(url)
        migrate.upgrade(url)
        found = inspect(bare)
        for table in metadata.sorted_tables:
            columns = {
                column["name"] for column in found.get_columns(table.name, schema="analysis")
            }
            assert columns == set(table.columns.keys())
        bare.dispose()
        migrate.downgrade(url, "base")
        assert inspect(bare).get_table_names(schema="analysis") == ["alembic_version"]


def test_many_at_once(url, bare):
    """Four migrations started together all end well."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.upgrade(url), range(4)))
    assert "job" in inspect(bare).get_table_names(schema="analysis")


def test_a_missing_schema_is_said(bare):
    """Before the migration a request is `unavailable` and names the reason; nothing crashes."""
    with (
        pytest.raises(DatabaseUnavailable, match=r"run python -m analysis_processing\.migrate"),
        transaction(bare) as db,
    ):
        repository.newest(db, TENANT_A, 1)
