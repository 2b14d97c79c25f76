"""The tables of schema `billing`, as queries see them; the migrations are what makes them.

Rows of an organisation carry `org_id`, first in the primary key. Two database roles read them:
`cloudopshub_billing_app` sees one organisation (row-level security by the setting `app.org`),
`cloudopshub_billing_directory` sees all of them but only the columns it is granted.
"""

from typing import Final

from sqlalchemy import DateTime, MetaData

from user_billing.chassis.database import Schema

SCHEMA: Final = Schema("billing", "user_billing.migrate")

SCHEMA_REVISION: Final = "202611301060"
"""The oldest migration this code works with; revisions sort by their date."""

APP_ROLE: Final = "cloudopshub_billing_app"

DIRECTORY_ROLE: Final = "cloudopshub_billing_directory"

metadata = MetaData(schema=SCHEMA.name)

Instant = DateTime(timezone=True)
