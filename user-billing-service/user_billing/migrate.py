"""`python -m user_billing.migrate`: the schema `billing` is current afterwards.

Safe to run from many places at once (one advisory lock) and again (a no-op when current).
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from user_billing.db.session import driver_url
from user_billing.db.tables import SCHEMA
from user_billing.settings import load_database_url

_ROOT = Path(__file__).resolve().parents[1]


def upgrade(database_url: str, revision: str = "head") -> None:
    """Brings the schema up to `revision`."""
    with _locked(database_url) as (connection, config):
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.commit()
        command.upgrade(config, revision)


def downgrade(database_url: str, revision: str) -> None:
    """Takes the schema back to `revision`; `base` leaves it empty."""
    with _locked(database_url) as (_connection, config):
        command.downgrade(config, revision)


@contextmanager
def _locked(database_url: str) -> Iterator[tuple[Connection, Config]]:
    """A connection that holds the migration lock of this schema until the block ends."""
    engine = create_engine(driver_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext(:schema))"), {"schema": SCHEMA})
        connection.commit()
        config = Config(_ROOT / "alembic.ini")
        config.attributes["connection"] = connection
        try:
            yield connection, config
        finally:
            connection.rollback()
            connection.execute(
                text("SELECT pg_advisory_unlock(hashtext(:schema))"), {"schema": SCHEMA}
            )
            connection.commit()
    engine.dispose()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m user_billing.migrate", description=__doc__)
    parser.add_argument("--down", metavar="REVISION", help="go back to a revision, or `base`")
    down = parser.parse_args().down
    url = load_database_url()
    try:
        downgrade(url, down) if down else upgrade(url)
    except OperationalError as exc:
        sys.exit(f"user-billing-service: cannot migrate: {str(exc.orig).strip()}")


if __name__ == "__main__":
    main()
