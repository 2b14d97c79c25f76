"""What the tests share: one Postgres for the run, a migrated database for each that asks."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from data_ingest import migrate
from tests.embedded_postgres import fresh_database, running_postgres

settings.register_profile("compiled", deadline=None, max_examples=60)
settings.register_profile(
    # Kernels run as Python there: some hundred times slower.
    "without_jit",
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("without_jit" if os.environ.get("NUMBA_DISABLE_JIT") == "1" else "compiled")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A superuser's URL of a real server."""
    with running_postgres() as url:
        yield url


@pytest.fixture
def store_url(postgres: str) -> Iterator[str]:
    """A fresh database with the schema of the migrations."""
    with fresh_database(postgres, "dis") as url:
        migrate.upgrade(url)
        yield url
