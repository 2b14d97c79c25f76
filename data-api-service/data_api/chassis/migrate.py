"""Migrations of a service's schema, by Alembic.

Safe to run many at once: an advisory lock makes the others wait, and they find nothing to do.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from .database import Schema
from .postgres import open_unbounded
from .settings import DatabaseSettings, load

FOLDER: Final = Path(__file__).resolve().parents[2] / "migrations"


class Migrations:
    """The migrations of one schema: those in the service's folder `migrations`."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def upgrade(self, database_url: str, revision: str = "head") -> None:
        """The schema stands at `revision`. Raises SQLAlchemy's errors."""
        with self._locked(database_url) as (connection, config):
            named = {"schema": self._schema.name}
            # asked first: CREATE … IF NOT EXISTS wants the right to create even when it need not
            if connection.scalar(text("SELECT to_regnamespace(:schema)"), named) is None:
                connection.execute(text(f"CREATE SCHEMA {self._schema.name}"))
            connection.commit()
            command.upgrade(config, revision)

    def downgrade(self, database_url: str, revision: str) -> None:
        """The schema stands at the earlier `revision`; `base` leaves no table of ours."""
        with self._locked(database_url) as (_, config):
            command.downgrade(config, revision)

    def main(self) -> None:
        """The command: migrates the database of DATABASE_URL, or ends with a line why not."""
        parser = argparse.ArgumentParser(prog=f"python -m {self._schema.migrated_by}")
        parser.add_argument("--down", metavar="REVISION", help="go back to a revision, or `base`")
        down = parser.parse_args().down
        settings = load(DatabaseSettings)
        url = settings.database_url.get_secret_value()
        try:
            self.downgrade(url, down) if down else self.upgrade(url)
        except (OperationalError, ProgrammingError) as exc:
            # libpq's objection to the URL itself, which has no SQLSTATE, quotes parts of it.
            unread = isinstance(exc, ProgrammingError) and exc.statement is None
            reason = "DATABASE_URL is not one that libpq can read" if unread else exc.orig
            sys.exit(f"{settings.service} cannot migrate: {str(reason).strip()}")
        sys.stdout.write(f"schema {self._schema.name} is current\n" if not down else "")

    @contextmanager
    def _locked(self, database_url: str) -> Iterator[tuple[Connection, Config]]:
        """A connection that holds the lock of this schema until the block ends."""
        engine = open_unbounded(database_url, self._schema.migrated_by)
        named = {"schema": self._schema.name}
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtext(:schema))"), named)
            connection.commit()
            config = Config()
            config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes.update(connection=connection, schema=self._schema.name)
            try:
                yield connection, config
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(hashtext(:schema))"), named)
                connection.commit()
        engine.dispose()
