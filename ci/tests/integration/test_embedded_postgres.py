"""The tests' PostgreSQL: real, private, and gone with its owner."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ci.native import postgres, postgres_for_tests
from ci.tests import embedded_postgres as pg

ROOT = Path(__file__).resolve().parents[3]
OWNER = """
import sys, signal
from ci.tests.embedded_postgres import running_postgres
with running_postgres() as url:
    print(url, flush=True)
    signal.pause()
"""


@pytest.fixture
def own_server(monkeypatch):
    """No server is given, so that one is started."""
    monkeypatch.delenv("TEST_POSTGRES_URL", raising=False)


def test_a_server_lives_for_the_block(own_server):
    """It answers as a superuser inside the block; after it nothing of it is left."""
    with pg.running_postgres() as url:
        assert pg.execute(url, "SELECT current_setting('server_version_num')::int / 10000") == "18"
        folder = Path(url.split("host=")[1]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_given_server_is_used(monkeypatch):
    """TEST_POSTGRES_URL is taken as it is."""
    monkeypatch.setenv("TEST_POSTGRES_URL", "postgresql://somebody@/x?host=/y")
    with pg.running_postgres() as url:
        assert url == "postgresql://somebody@/x?host=/y"


def test_a_database_lives_for_the_block():
    """It is new and empty; after the block it is dropped, though somebody is still connected."""
    with pg.running_postgres() as server:
        with pg.fresh_database(server, "Some Name!") as url:
            assert pg.execute(url, "SELECT current_database()").startswith("some_name_")
            psql = [str(postgres.installation() / "bin" / "psql"), "-X", url]
            client = subprocess.Popen(psql, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
            name = url.split("@/")[1].split("?")[0]
        assert name not in pg.execute(server, "SELECT datname FROM pg_database").splitlines()
        client.communicate()


def test_a_wrong_statement_is_told():
    """The server's words are the error's."""
    with (
        pg.running_postgres() as server,
        pytest.raises(pg.PostgresError, match='relation "nowhere" does not exist'),
    ):
        pg.execute(server, "SELECT * FROM nowhere")


@pytest.mark.parametrize("victim", ["owner", "watcher"])
def test_kill_9_leaves_no_server(own_server, victim):
    """Whoever is killed, owner or watcher: the server ends."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    folder = Path(owner.stdout.readline().strip().split("host=")[1]).parent
    watcher = psutil.Process(owner.pid).children()[0]
    server = watcher.children()[0]
    if victim == "watcher" and sys.platform != "linux":
        owner.kill()
        pytest.skip("only Linux tells the server that its watcher died")
    (owner if victim == "owner" else watcher).kill()
    deadline = time.monotonic() + 600
    while is_alive(server) or (victim == "owner" and folder.exists()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    owner.kill()
    owner.communicate()
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_closed_folder_is_not_opened(tmp_path):
    """What the account cannot reach is copied for it; no permission up the path changes."""
    if os.geteuid() != 0:
        pytest.skip("only root hands the server to another account")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    who = postgres.account()
    assert who.is_other
    assert not who.can_reach(closed)
    with contextlib.ExitStack() as stack:
        folder = postgres_for_tests.short_folder(who)
        stack.callback(subprocess.run, ["rm", "-rf", str(folder)], check=True)
        assert who.can_reach(folder)
        done = who.run(
            f"{postgres.reachable_installation(who, folder / 'wheel')}/bin/postgres", "-V"
        )
        assert (done.code, done.stdout.split()[-1].split(".")[0]) == (0, "18")
    assert closed.stat().st_mode & 0o777 == 0o700


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_what_hinders_a_server_is_said(own_server, monkeypatch, tmp_path):
    """Without ci's environment: how to get one; when the server cannot start: its reason."""
    monkeypatch.setattr(pg, "PYTHON", tmp_path / "python")
    with pytest.raises(pg.PostgresError, match="run `make venvs`, or set TEST_POSTGRES_URL"):
        pg.running_postgres().__enter__()
    pg.PYTHON.write_text("#!/bin/sh\necho no account\nexit 4\n")
    pg.PYTHON.chmod(0o755)
    with pytest.raises(pg.PostgresError, match="no account"):
        pg.running_postgres().__enter__()
