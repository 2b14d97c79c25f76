"""`python -m data_ingest.migrate`: the schema `metrics` is current afterwards."""

from data_ingest.chassis.migrate import Migrations
from data_ingest.store.tables import SCHEMA

_migrations = Migrations(SCHEMA)
upgrade = _migrations.upgrade
downgrade = _migrations.downgrade

if __name__ == "__main__":
    _migrations.main()
