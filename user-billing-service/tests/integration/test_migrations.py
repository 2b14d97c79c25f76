"""Migrations: up, down, up; at once; on several databases of one server."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from embedded_postgres import execute, fresh_database

from user_billing import migrate
from user_billing.chassis.postgres import open_unbounded
from user_billing.db.tables import SCHEMA_REVISION, metadata

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = (
    "SELECT string_agg(relname || relkind::text, ',' ORDER BY relname) FROM pg_class"
    " WHERE relnamespace = 'billing'::regnamespace"
)


@pytest.fixture
def empty_url(server_url):
    with fresh_database(server_url, "ubs_migrate") as url:
        yield url


def test_up_down_and_up_again_give_the_same_schema(empty_url):
    """Down leaves Alembic's own table and nothing else; up again is the same as up."""
    migrate.upgrade(empty_url)
    first = execute(empty_url, OBJECTS)
    migrate.downgrade(empty_url, "base")
    assert execute(empty_url, OBJECTS) == "alembic_versionr,alembic_version_pkci"
    migrate.upgrade(empty_url)
    assert execute(empty_url, OBJECTS) == first


def test_the_code_needs_the_newest_migration(empty_url):
    """/ready asks for the revision that upgrade reaches; a second upgrade is a no-op."""
    for _ in range(2):
        migrate.upgrade(empty_url)
        found = execute(empty_url, "SELECT version_num FROM billing.alembic_version")
        assert found == SCHEMA_REVISION


def test_the_tables_are_those_the_queries_see(database_url):
    """Every table and column that db/tables.py names exists with its type and nullability."""
    engine = open_unbounded(database_url, "tests")
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == "billing",
            "include_object": lambda _o, name, kind, _r, _c: (
                kind in {"table", "column"} and name != "alembic_version"
            ),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def migrate_at_once(urls):
    """Starts a process for each URL, as replicas do, and waits for all."""
    command = [sys.executable, "-m", "user_billing.migrate"]
    started = [
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, stderr=subprocess.PIPE
        )
        for url in urls
    ]
    answers = [process.communicate(timeout=600)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * len(urls), answers


def test_many_migrations_of_one_database_are_one(empty_url):
    """Four replicas that migrate at the same moment all succeed."""
    migrate_at_once([empty_url] * 4)
    assert execute(empty_url, "SELECT count(*) FROM billing.plan WHERE code = 'showback'") == "1"


def test_databases_of_one_server_share_the_roles(server_url):
    """Roles belong to the server: databases that migrate at once all find or make them."""
    with ExitStack() as stack:
        urls = [stack.enter_context(fresh_database(server_url, f"ubs_race{n}")) for n in range(4)]
        migrate_at_once(urls)
