"""Prepares a test run (environments, one PostgreSQL for all) and hands it to one pytest session."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from ci import catalogue as catalogue_module
from ci import environments
from ci.embedded_postgres import PostgresError, running_postgres
from ci.errors import OutsideFault
from ci.model import Catalogue
from ci.screen import Screen
from ci.settings import Settings
from ci.suites import plan

NOT_INHERITED = (
    "PYTEST_CURRENT_TEST",
    "PYTEST_PLUGINS",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "DATABASE_URL",
)


def main(
    catalogue: Catalogue,
    settings: Settings,
    wanted: Sequence[str],
    junit: str | None,
    keyword: str | None,
) -> int:
    """Run the tests of `wanted`, or all; pytest's exit code."""
    suites = plan.suites(catalogue, wanted)
    screen = Screen(colour=settings.colour)
    folders = {suite.folder.name for suite in suites} | {"ci"}
    if any(suite.name == plan.E2E for suite in suites):
        folders |= {service.folder for service in catalogue.services}
    asyncio.run(environments.make(catalogue.root, sorted(folders), environments.DEV, screen))
    try:
        with running_postgres() as url:
            return _pytest(catalogue, settings, suites, url, junit, keyword)
    except PostgresError as error:
        raise OutsideFault(str(error)) from error


def _pytest(  # noqa: PLR0917 (private; the arguments of `main` and what it found)
    catalogue: Catalogue,
    settings: Settings,
    suites: Sequence[plan.Suite],
    postgres_url: str,
    junit: str | None,
    keyword: str | None,
) -> int:
    # ci's environment may have got pytest only just now
    import pytest  # noqa: PLC0415

    from ci.suites.plugin import Suites  # noqa: PLC0415

    folder = settings.cache_dir / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    plugin = Suites(
        suites=suites,
        folder=folder,
        env=env | {"TEST_POSTGRES_URL": postgres_url},
        options=["-q", "-p", "no:cacheprovider", *(["-k", keyword] if keyword else [])],
        empty_is_fine=bool(keyword),
    )
    options = ["-c", os.devnull, f"--rootdir={catalogue.root}", "-ra", "--durations=10"]
    options += ["-p", "no:cacheprovider", "-o", "console_output_style=classic"]
    if junit:
        options.append(f"--junitxml={Path(junit).absolute()}")
    return int(pytest.main([*options, str(catalogue.root / "ci")], plugins=[plugin]))


def make_environments(
    catalogue: Catalogue, settings: Settings, names: Sequence[str], *, dev: bool
) -> int:
    """The environments of `names` (folders or codes), or of all, are made."""
    chosen = [catalogue_module.find(catalogue, name).folder for name in names]
    folders = chosen or [*(service.folder for service in catalogue.services), "ci"]
    lock = environments.DEV if dev else environments.RUNTIME
    screen = Screen(colour=settings.colour)
    asyncio.run(environments.make(catalogue.root, folders, lock, screen))
    return 0
