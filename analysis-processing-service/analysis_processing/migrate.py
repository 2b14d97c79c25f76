"""`python -m analysis_processing.migrate`: the schema `analysis` is current afterwards.

Safe to run many at once: an advisory lock makes the others wait, and they find nothing to do.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from analysis_processing.jobs.database import engine_for
from analysis_processing.settings import DatabaseSettings, load

ALEMBIC_INI = Path(__file__).resolve().parent.parent / "alembic.ini"
SCHEMA = "analysis"


def migrate(engine: Engine, revision: str = "head") -> None:
    """The schema stands at `revision`; `base` removes its tables."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext(:schema))"), {"schema": SCHEMA})
        connection.commit()
        try:
            # asked first: CREATE … IF NOT EXISTS wants the right to create even when it need not
            named = {"schema": SCHEMA}
            if connection.scalar(text("SELECT to_regnamespace(:schema)"), named) is None:
                connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
            connection.commit()
            config = Config(str(ALEMBIC_INI))
            config.attributes["connection"] = connection
            (command.downgrade if revision == "base" else command.upgrade)(config, revision)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(
                text("SELECT pg_advisory_unlock(hashtext(:schema))"), {"schema": SCHEMA}
            )
            connection.commit()


def main() -> None:
    """Migrate the database of DATABASE_URL, or end with one line that says why not."""
    settings = load(DatabaseSettings)
    engine = engine_for(settings.database_url.get_secret_value(), pool_size=1, lock_timeout_ms=0)
    try:
        migrate(engine)
    finally:
        engine.dispose()
    print(f"schema {SCHEMA} is current")  # noqa: T201  the command's whole output


if __name__ == "__main__":
    main()
