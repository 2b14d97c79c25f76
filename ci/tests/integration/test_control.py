"""A run as another terminal sees it: what is asked is the process, never a file alone."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from ci import catalogue
from ci.context import Context, from_environment
from ci.errors import OutsideFault
from ci.native import commands, launcher, logs, state
from ci.native.run import Run
from ci.screen import Screen

LISTED = catalogue.load()


@pytest.fixture
def settings(tmp_path):
    return from_environment(LISTED, {"CLOUDOPSHUB_DATA_DIR": str(tmp_path)})


def call(command, settings):
    """What the command does, in this process."""
    return command.callback(Context(LISTED, settings, {}, Screen(io.StringIO())))


def processes(settings):
    """What `make status` does."""
    return call(commands.ps, settings)


def written(settings, pid):
    """The state file of a run whose launcher we are, with a worker of that pid."""
    process = {"pid": pid, "started_at": 0.0, "restarts": 0}
    content = {
        "launcher": os.getpid(),
        "url": "http://localhost:1",
        "urls": {service.code: "http://127.0.0.1:1" for service in LISTED.services},
        "processes": {"aps-worker": process},
    }
    settings.state_file.write_text(json.dumps(content))


def test_a_process_that_has_ended_is_not_ready_whatever_the_file_says(settings):
    """The file may be old, as on a full disk: a pid that is no child of the launcher is told."""
    lock = state.take(settings.data_dir)
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    try:
        written(settings, child.pid)
        assert processes(settings).status == "ready"
        child.kill()
        child.communicate()
        with pytest.raises(OutsideFault, match="has ended") as told:
            processes(settings)
        assert told.value.status == "not_ready"
        written(settings, os.getppid())  # runs, and is nobody's here
        with pytest.raises(OutsideFault, match="has ended"):
            processes(settings)
    finally:
        os.close(lock)


def test_a_run_without_a_state_is_not_taken_for_none(settings):
    """Who holds the lock runs, though a full disk kept it from saying what."""
    lock = state.take(settings.data_dir)
    with pytest.raises(OutsideFault, match=f"it runs .pid {os.getpid()}., and has not written"):
        processes(settings)
    os.close(lock)
    with pytest.raises(OutsideFault, match="make run"):
        processes(settings)


def test_a_run_is_stopped_whatever_its_state_file_says(settings):
    """Who holds the lock is named by it, so a full disk or another clock hides no run."""
    code = "import pathlib, signal, sys; from ci.native import state\n"
    code += "state.take(pathlib.Path(sys.argv[1])); print(flush=True); signal.pause()"
    assert call(commands.stop, settings).status == "nothing"
    with subprocess.Popen(
        [sys.executable, "-c", code, settings.data_dir], cwd=LISTED.root, stdout=-1
    ) as run:
        run.stdout.readline()
        assert call(commands.stop, settings).status == "done"
        assert run.wait(600) == -signal.SIGTERM
    assert call(commands.stop, settings).status == "nothing"


def test_the_log_of_refusals_is_bounded(settings, monkeypatch):
    """Nginx itself writes it, and no process of ours; the launcher keeps it short all the same."""
    monkeypatch.setattr(logs, "FILE_BYTES_MAX", 10)
    refusals = settings.data_dir / "nginx" / "refusals.log"
    refusals.parent.mkdir()
    refusals.write_text("refused " * 3)

    class Stop:
        """Set once the file is short."""

        def is_set(self):
            return refusals.stat().st_size == 0

    run = Run(LISTED, settings, Screen(io.StringIO()))
    launcher.asyncio.run(launcher.asyncio.wait_for(launcher._follow(run, Stop()), 600))
    assert (refusals.parent / "refusals.log.1").read_text() == "d refused "
