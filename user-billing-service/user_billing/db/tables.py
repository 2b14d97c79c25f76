"""The tables of schema `billing`, as queries see them; the migrations are what makes them.

Rows of an organisation carry `org_id`, first in the primary key. Two database roles read them:
`cloudopshub_billing_app` sees one organisation (row-level security by the setting `app.org`),
`cloudopshub_billing_directory` sees all of them but only the columns it is granted.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from user_billing.chassis.database import Schema

SCHEMA: Final = Schema("billing", "user_billing.migrate")

SCHEMA_REVISION: Final = "202611301070"
"""The oldest migration this code works with; revisions sort by their date."""

APP_ROLE: Final = "cloudopshub_billing_app"

DIRECTORY_ROLE: Final = "cloudopshub_billing_directory"

metadata = MetaData(schema=SCHEMA.name)

Instant = DateTime(timezone=True)

_KINDS: Final[dict[str, Any]] = {
    "uuid": Uuid, "text": Text, "texts": ARRAY(Text), "small": SmallInteger, "int": Integer,
    "minor": BigInteger, "quantity": Numeric(38, 9), "percent": Numeric(6, 3), "flag": Boolean,
    "day": Date, "instant": Instant, "bytes": LargeBinary, "json": JSONB,
}  # fmt: skip


def table(name: str, key: str, columns: str) -> Table:
    """The table with the columns of its primary key, then the others.

    A column is written `name:kind` (`minor`: an amount of money), with `?` where it may be null.
    """
    made = []
    for text in [*key.split(), *columns.split()]:
        column, _, kind = text.partition(":")
        is_key, null = text in key.split(), kind.endswith("?")
        made.append(Column(column, _KINDS[kind.rstrip("?")], primary_key=is_key, nullable=null))
    return Table(name, metadata, *made)
