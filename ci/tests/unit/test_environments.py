"""Which environments are made anew, and what uv is told of pip's settings."""

import asyncio
import io
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci import environments, process
from ci.environments import DEV, RUNTIME, fingerprint, parse_pip_config, uv_settings, wanted_lock
from ci.screen import Screen

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / RUNTIME).write_text("a==1 --hash=sha256:0\n")
    (tmp_path / DEV).write_text("a==1 --hash=sha256:0\nb==2 --hash=sha256:1\n")
    python = environments.python_of(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def stamp(folder, *locks):
    content = {name: fingerprint(folder / name) for name in locks}
    (folder / ".venv" / environments.STAMP).write_text(json.dumps(content))


def test_an_environment_without_a_stamp_is_made(folder):
    """What nobody vouches for is made anew, of the lock that was asked for."""
    assert wanted_lock(folder, RUNTIME) == RUNTIME
    assert wanted_lock(folder, DEV) == DEV


def test_a_current_environment_costs_nothing(folder):
    """The stamp of the same lock, for the same Python, is enough."""
    stamp(folder, RUNTIME)
    assert wanted_lock(folder, RUNTIME) is None
    assert wanted_lock(folder, DEV) == DEV


def test_a_development_environment_stays_one(folder):
    """It serves a run; when the lock has changed it is remade with the tools, not without."""
    stamp(folder, RUNTIME, DEV)
    assert wanted_lock(folder, RUNTIME) is None
    (folder / RUNTIME).write_text("a==2 --hash=sha256:2\n")
    assert wanted_lock(folder, RUNTIME) == DEV


@pytest.mark.parametrize("damage", ["{", "[]x", ""])
def test_a_damaged_stamp_is_no_stamp(folder, damage):
    """Half a file means: make it anew."""
    (folder / ".venv" / environments.STAMP).write_text(damage)
    assert wanted_lock(folder, RUNTIME) == RUNTIME


def test_a_vanished_interpreter_voids_the_stamp(folder):
    """An environment whose Python is gone does not serve, whatever is written in it."""
    stamp(folder, RUNTIME)
    environments.python_of(folder).unlink()
    assert wanted_lock(folder, RUNTIME) == RUNTIME


def test_pip_settings_are_weighed_as_pip_weighs_them():
    """The environment wins over the command's section, and that over the global one."""
    text = r"""
global.index-url='https://one.example/simple'
install.index-url='https://two.example/simple'
global.extra-index-url='https://a.example/simple\nhttps://b.example/simple'
global.find-links='/a /b'
:env:.find-links='/wheels'
freeze.timeout='10'
nonsense
"""
    assert parse_pip_config(text) == {
        "index-url": ["https://two.example/simple"],
        "extra-index-url": ["https://a.example/simple", "https://b.example/simple"],
        "find-links": ["/wheels"],
    }


def test_uv_is_told_what_pip_is_told():
    """Each option has its variable; uv weighs all indexes as pip does."""
    told = uv_settings(
        {
            "index-url": ["https://one.example/simple"],
            "extra-index-url": ["https://a.example/simple", "https://b.example/simple"],
            "find-links": ["/a", "/b"],
            "cert": ["/etc/ca.pem"],
            "default-timeout": ["180"],
            "no-index": ["false"],
        },
        {},
    )
    assert told["UV_DEFAULT_INDEX"] == "https://one.example/simple"
    assert told["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    assert told["UV_FIND_LINKS"] == "/a,/b"
    assert told["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert told["UV_HTTP_TIMEOUT"] == "180"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert "UV_NO_INDEX" not in told


def test_a_variable_of_uv_that_is_set_stays():
    """Who configures uv itself is not overruled by pip's files."""
    told = uv_settings({"index-url": ["https://pip.example"]}, {"UV_DEFAULT_INDEX": "mine"})
    assert "UV_DEFAULT_INDEX" not in told


def test_one_stamp_says_that_an_environment_is_there(tmp_path):
    """`make status` and `ci status` in turn: `make` makes nothing that `python -m ci` has made."""
    python = tmp_path / "ci" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / "ci" / "requirements.txt").write_text("newer==1\n")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for there in (False, True):
        if there:
            python.symlink_to(sys.executable)
        for target in ("status", "logs", "stop", "run", "test"):
            done = subprocess.run(
                ["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            assert ("ci/bootstrap" not in done.stdout) is there


@pytest.mark.parametrize("uv", [None, "/bin/uv"], ids=["pip", "uv"])
def test_an_environment_that_serves_is_never_cleared(folder, monkeypatch, uv):
    """A changed lock is installed into it: a run here may be using it."""
    called = []

    async def done(argv, **_):
        called.append([str(word) for word in argv])
        return process.Done(0, platform.python_version())

    monkeypatch.setattr(process, "run_async", done)
    monkeypatch.setattr(environments, "pip_settings", dict)
    monkeypatch.setattr(shutil, "which", lambda name, **_: uv if name == "uv" else name)
    environments.python_of(folder).touch()
    screen = Screen(stream=io.StringIO())
    asyncio.run(environments.make(folder.parent, [folder.name], RUNTIME, screen))
    assert any("--require-hashes" in words for words in called)
    assert not any("--clear" in words for words in called)
    assert wanted_lock(folder, RUNTIME) is None


def test_environments_are_filled_one_after_the_other(tmp_path, monkeypatch):
    """The second finds in uv's cache what the first has fetched, and they share those files."""
    filling: list[str] = []
    overlapped = False

    async def done(argv, *, cwd=tmp_path, **_):
        nonlocal overlapped
        if "--require-hashes" in argv:
            filling.append(cwd.name)
            for _turn in range(10):
                await asyncio.sleep(0)
                overlapped = overlapped or len(filling) > 1
            filling.clear()
        return process.Done(0, platform.python_version())

    async def at_once(work):
        return work()

    async def both() -> None:
        screen = Screen(stream=io.StringIO())
        makes = (environments.make_one(tmp_path, name, RUNTIME, screen) for name in ("a", "b"))
        await asyncio.gather(*makes)

    monkeypatch.setattr(process, "run_async", done)
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr(environments, "pip_settings", dict)
    monkeypatch.setattr(shutil, "which", lambda name, **_: name)
    for name in ("a", "b"):
        (tmp_path / name / ".venv").mkdir(parents=True)
        (tmp_path / name / RUNTIME).write_text("one==1\n")
    asyncio.run(both())
    assert not overlapped
