"""One platform for all end-to-end tests, started as `make run` starts it, on free ports."""

import shutil
import tempfile
from pathlib import Path

import pytest
from native_platform import NativePlatform, all_gone, eventually


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
