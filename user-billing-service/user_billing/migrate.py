"""`python -m user_billing.migrate`: the schema `billing` is current afterwards."""

from user_billing.chassis.migrate import Migrations
from user_billing.db.tables import SCHEMA

_migrations = Migrations(SCHEMA)
upgrade = _migrations.upgrade
downgrade = _migrations.downgrade

if __name__ == "__main__":
    _migrations.main()
