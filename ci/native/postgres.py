"""The embedded PostgreSQL 18 of a native run: where it lies, how it is tuned, who logs in.

The launcher owns its start and stop. It listens on a Unix socket in a private folder and nowhere
else; whoever reaches that folder is the person who started the run. The services log in as
`cloudopshub`, who is no superuser, because superusers walk through row-level security.
"""

import hashlib
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

from ci import process
from ci.errors import OutsideFault
from ci.native import postgres_program as pg
from ci.native.postgres_program import Account
from ci.native.supervisor import Program

NAME = "postgres"
ROLE = "cloudopshub"
DATABASE = "cloudopshub"
MAJOR = "18"
SYSTEM_FOLDER = Path("/var/lib/cloudopshub")
OPTIONS = {
    "synchronous_commit": "on",
    "fsync": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "wal_compression": "pglz",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "80MB",
    "max_wal_size": "1GB",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "io_method": "sync",
    "max_worker_processes": "4",
    "autovacuum_max_workers": "2",
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m ",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Place:
    """Where the server's things are, and who owns them. `note` tells a person what is unusual."""

    who: Account
    data_dir: Path
    socket_dir: Path
    wheel_copy: Path
    note: str | None

    @property
    def cluster(self) -> str:
        """A text that no other cluster has, not even a later one in the same folder."""
        made = (self.data_dir / "PG_VERSION").stat()
        return f"{self.data_dir}:{made.st_ino}:{made.st_mtime_ns}"

    @property
    def superuser_url(self) -> str:
        """The URL for set-up work."""
        return pg.socket_url(self.socket_dir)

    @property
    def url(self) -> str:
        """The URL the services get."""
        return pg.socket_url(self.socket_dir, DATABASE, ROLE)


def place(data_dir: Path) -> Place:
    """Choose the folders for a run whose things lie in `data_dir`; the data's parent exists after.

    For root the account that stands in must reach them. A checkout below a closed home is not
    opened for it: the server's files then lie in /var/lib/cloudopshub, named by the path's hash.
    """
    who = pg.account()
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    parent, note = data_dir, None
    if not who.can_reach(data_dir):
        parent = SYSTEM_FOLDER / name
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        note = f"PostgreSQL runs as {who.name}, who cannot reach {data_dir}: its files are {parent}"
    # short, because a socket's path may have 107 bytes, and there is no limit to a checkout's
    base = Path("/", "tmp")
    socket_dir = base / f"cloudopshub-{who.uid}-{name}"
    return Place(who, parent / "postgres", socket_dir, parent / "postgres-program", note)


def private_folder(path: Path, who: Account) -> None:
    """`path` is a folder of `who` that nobody else enters; `OutsideFault` when somebody made it."""
    try:
        path.mkdir(mode=0o700)
        who.own(path)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {who.uid, os.geteuid()}:
            raise OutsideFault(f"{path} belongs to somebody else; remove it") from None
        path.chmod(0o700)
        who.own(path)


def program(where: Place, log: Path) -> Program:
    """The server, its cluster made when there is none."""
    bin_dir = pg.reachable_installation(where.who, where.wheel_copy) / "bin"
    version = where.data_dir / "PG_VERSION"
    if not version.exists():
        private_folder(where.data_dir, where.who)
        pg.make_cluster(bin_dir, where.data_dir, where.who)
    elif (major := version.read_text().strip()) != MAJOR:
        raise OutsideFault(
            f"{where.data_dir} was made by PostgreSQL {major}, this is {MAJOR}: dump it with "
            "the old program and load it here (docs/runbooks/backup-and-restore.md), or move it "
            "away to start empty"
        )
    private_folder(where.socket_dir, where.who)

    async def not_ready() -> str | None:
        done = await process.run_async([bin_dir / "pg_isready", "-q", "-h", where.socket_dir])
        return None if done.code == 0 else "not accepting connections yet"

    return Program(
        name=NAME,
        argv=tuple(pg.server_command(bin_dir, where.data_dir, where.socket_dir, OPTIONS)),
        cwd=where.data_dir if not where.who.is_other else Path("/"),
        env=pg.CLEAN_ENVIRONMENT,
        log=log,
        not_ready=not_ready,
        stop_signal=signal.SIGINT,
        ids=where.who.ids,
    )


def prepare(where: Place) -> None:
    """The services' role and database exist."""
    if ROLE not in _execute(where, "SELECT rolname FROM pg_roles"):
        _execute(where, f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOBYPASSRLS CREATEROLE")
    if DATABASE not in _execute(where, "SELECT datname FROM pg_database"):
        _execute(where, f"CREATE DATABASE {DATABASE} OWNER {ROLE}")


def _execute(where: Place, sql: str) -> list[str]:
    """The rows of `sql`, run by the superuser."""
    psql = [f"{pg.installation()}/bin/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]
    done = process.run([*psql, where.superuser_url])
    if done.code != 0:
        raise OutsideFault(done.stderr.strip())
    return done.stdout.splitlines()
