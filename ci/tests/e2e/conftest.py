"""One platform for all end-to-end tests, started as `make run` starts it, on free ports."""

import pytest
from native_platform import NativePlatform, all_gone, eventually


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    base = tmp_path_factory.mktemp("a place with spaces")
    run = NativePlatform.start(base / "data")
    try:
        run.wait_ready()
        yield run
        family = run.family()
        assert run.stop() == 0, run.screen()[-4000:]
        eventually("no process is left", lambda: all_gone(family) or None)
    finally:
        if run.launcher.poll() is None:
            run.launcher.kill()
