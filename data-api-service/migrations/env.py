"""Alembic runs on the connection that `python -m <package>.migrate` hands over, inside its lock."""

from alembic import context

given = context.config.attributes
context.configure(
    connection=given["connection"],
    version_table_schema=given["schema"],
    include_schemas=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
