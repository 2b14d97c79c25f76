"""`python -m analysis_processing.migrate`: the schema `analysis` is current afterwards."""

from analysis_processing.chassis.migrate import Migrations
from analysis_processing.jobs.tables import SCHEMA

_migrations = Migrations(SCHEMA)
upgrade = _migrations.upgrade
downgrade = _migrations.downgrade

if __name__ == "__main__":
    _migrations.main()
