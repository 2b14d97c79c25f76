"""Brings the schema `metrics` up to date: `python -m data_ingest.migrate`.

Safe to run many at once (an advisory lock lets one work while the others wait) and a no-op when
current.
"""

import os
import sys
from pathlib import Path

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

SCHEMA = "metrics"
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def migrate(database_url: str, revision: str = "head") -> None:
    """The schema is at `revision` when this returns; `base` empties it. Raises psycopg2 or
    SQLAlchemy errors.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    # The libpq URL goes to libpq as it is, so every form of it works (`?host=/run/x` for a socket).
    engine = create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(database_url), poolclass=NullPool
    )
    with engine.begin() as connection:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext(:schema))"), {"schema": SCHEMA}
        )
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def main() -> int:
    """Migrate the database of DATABASE_URL; 2 when that is not set, 1 when it cannot be done."""
    database_url = os.environ.get("DATABASE_URL")
    if not database_url:
        sys.stderr.write("data_ingest.migrate: DATABASE_URL is not set\n")
        return 2
    try:
        migrate(database_url)
    except psycopg2.OperationalError as exc:
        sys.stderr.write(f"data_ingest.migrate: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
