"""`python -m data_api.migrate`: the schema `rules` is current afterwards."""

from data_api.chassis.migrate import Migrations
from data_api.rules.repository import SCHEMA

_migrations = Migrations(SCHEMA)
upgrade = _migrations.upgrade
downgrade = _migrations.downgrade

if __name__ == "__main__":
    _migrations.main()
