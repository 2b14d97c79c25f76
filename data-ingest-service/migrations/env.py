"""Runs the migrations on the connection it is given, or on DATABASE_URL when the `alembic` command
started it.
"""

import os

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

SCHEMA = "metrics"


def run(connection: Connection) -> None:
    """Apply what is missing, in one transaction; `alembic_version` lives in the service's own
    schema.
    """
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    context.configure(connection=connection, version_table_schema=SCHEMA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    import psycopg2

    engine = create_engine(
        "postgresql+psycopg2://",
        creator=lambda: psycopg2.connect(os.environ["DATABASE_URL"]),
        poolclass=NullPool,
    )
    with engine.begin() as connection:
        run(connection)
