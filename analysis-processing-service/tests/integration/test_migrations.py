"""Migrations run down and up again, many at once, and say when they have not run."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from embedded_postgres import fresh_database
from neighbours import TENANT_A
from sqlalchemy import inspect

from analysis_processing.errors import DatabaseUnavailable
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import engine_for, transaction
from analysis_processing.jobs.tables import metadata
from analysis_processing.migrate import migrate


@pytest.fixture
def bare(server_url):
    with fresh_database(server_url, "aps_migrations") as url:
        engine = engine_for(url, lock_timeout_ms=0)
        yield engine
        engine.dispose()


def test_up_down_up(bare):
    """Up makes the tables that the code declares, down removes them, and up works again."""
    for _ in range(2):
        migrate(bare)
        migrate(bare)
        found = inspect(bare)
        for table in metadata.sorted_tables:
            columns = {
                column["name"] for column in found.get_columns(table.name, schema="analysis")
            }
            assert columns == set(table.columns.keys())
        bare.dispose()
        migrate(bare, "base")
        assert inspect(bare).get_table_names(schema="analysis") == ["alembic_version"]


def test_many_at_once(bare):
    """Four migrations started together all end well."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate(bare), range(4)))
    assert "job" in inspect(bare).get_table_names(schema="analysis")


def test_a_missing_schema_is_said(bare):
    """Before the migration a request is `unavailable` and names the reason; nothing crashes."""
    with pytest.raises(DatabaseUnavailable, match="migrate first"), transaction(bare) as db:
        repository.newest(db, TENANT_A, 1)
