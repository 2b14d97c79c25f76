"""The tables of schema `billing`, as queries see them; the migrations are what makes them.

Rows of an organisation carry `org_id`, first in the primary key. Two database roles read them:
`cloudopshub_billing_app` sees one organisation (row-level security by the setting `app.org`),
`cloudopshub_billing_directory` sees all of them but only the columns it is granted.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Column, DateTime, MetaData, Table, Uuid

from user_billing.chassis.database import Schema

SCHEMA: Final = Schema("billing", "user_billing.migrate")

SCHEMA_REVISION: Final = "202611301085"
"""The oldest migration this code works with; revisions sort by their date."""

APP_ROLE: Final = "cloudopshub_billing_app"

DIRECTORY_ROLE: Final = "cloudopshub_billing_directory"

metadata = MetaData(schema=SCHEMA.name)

Instant = DateTime(timezone=True)


def org_table(
    name: str,
    *,
    key: Mapping[str, Any],
    needed: Mapping[str, Any],
    optional: Mapping[str, Any] | None = None,
) -> Table:
    """A table of rows of organisations: of column → type. key: after `org_id`, the primary key."""
    return Table(
        name,
        metadata,
        *(Column(column, of, primary_key=True) for column, of in {"org_id": Uuid, **key}.items()),
        *(Column(column, of, nullable=False) for column, of in needed.items()),
        *(Column(column, of) for column, of in (optional or {}).items()),
    )
