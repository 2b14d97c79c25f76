"""One platform for all end-to-end tests, started as `make run` starts it, on free ports."""

import functools
import os
import shutil
import ssl
import tempfile
from pathlib import Path

import people
import pytest
from native_platform import NativePlatform, all_gone, eventually

# Each call of httpx would read the machine's certificates anew: 20 ms, for plain http.
ssl.create_default_context = functools.cache(ssl.create_default_context)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def new_folder():
    """Makes folders, with a space in their path, that root's stand-in for PostgreSQL reaches."""
    base = Path(tempfile.mkdtemp(prefix="coh e2e "))
    base.chmod(0o711)

    def make(name):
        folder = base / name
        folder.mkdir(mode=0o711)
        return folder

    yield make
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(new_folder):
    run = NativePlatform.start(new_folder("main") / "data")
    try:
        run.wait_ready()
        yield run
        family = run.family()
        assert run.stop() == 0, run.screen()[-4000:]
        eventually("no process is left", lambda: all_gone(family) or None)
    finally:
        if run.launcher.poll() is None:
            run.launcher.kill()


@pytest.fixture(scope="session")
def browser():
    """The machine's Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def sign_in(browser, platform):
    """Signs somebody in, in a browser of their own; a script that fails there fails the test."""
    opened = people.SignIn(browser, platform)
    yield opened
    opened.close()
    assert not opened.errors
