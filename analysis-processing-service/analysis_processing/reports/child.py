"""The process that makes reports, as watch.child runs watches: killed, they are made again."""

import sys

import httpx
from sqlalchemy import Engine

from analysis_processing.jobs.claims import database_clock
from analysis_processing.reports.maker import Maker
from analysis_processing.settings import Settings
from analysis_processing.watch import child


def maker_for(settings: Settings, engine: Engine, http: httpx.AsyncClient) -> Maker:
    """A maker that asks data-api-service as each tenant."""
    return Maker(engine, database_clock, child.runner_for(settings, engine, http).das)


if __name__ == "__main__":
    child.main(int(sys.argv[1]), maker_for, "aps-report")
