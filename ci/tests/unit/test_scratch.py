"""Private folders: nobody else's while they are used, gone afterwards however that ended."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ci.tools import scratch

ROOT = Path(__file__).resolve().parents[3]
HOLDS = """
import os, pathlib, signal
from ci.tools import scratch
with scratch.folder("lab") as folder:
    (folder / "login").write_text("x")
    print(folder, flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _age(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)


def test_a_folder_is_gone_with_its_block(temporary):
    """Also when the block failed, and it is for nobody else to see."""

    def fail() -> None:
        with scratch.folder("lab") as folder:
            assert folder.parent == temporary
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "deep").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_run_left_goes_and_what_is_used_stays(temporary):
    """The lock tells them apart, whatever the process ids of a container say."""
    environ = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        _age(theirs)
        with scratch.folder("lab") as ours, scratch.folder("other") as other:
            assert len({theirs, ours, other}) == 3
            assert (theirs / "login").exists()
        holder.kill()
        holder.wait()
    with scratch.folder("other"):
        assert theirs.exists()
    with scratch.folder("lab"):
        assert not theirs.exists()


def test_a_folder_that_was_just_made_stays(temporary):
    """Its maker may not hold it yet."""
    made = temporary / "ci-lab-new"
    made.mkdir()
    with scratch.folder("lab"):
        assert made.exists()


def test_a_link_of_that_name_is_not_followed(temporary):
    """What somebody else planted costs nobody a file."""
    target = temporary / "kept"
    target.mkdir()
    (temporary / "ci-lab-planted").symlink_to(target)
    _age(temporary / "ci-lab-planted")
    with scratch.folder("lab"):
        pass
    assert target.exists()
