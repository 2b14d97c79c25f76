"""A PostgreSQL 18 server for tests: prints its URL, and is gone when its owner is.

    python -m ci.native.postgres_for_tests [--copy-of SOCKET_FOLDER [--standby]]

    owner (pytest) ──stdin pipe──▶ this process ──▶ postgres
                                   end of file or SIGTERM → fast shutdown, folder removed

The pipe closes however the owner ends, `kill -9` included; should this process be killed, the
kernel tells postgres (Linux). Its clients are the twins `tests/embedded_postgres.py`.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ci.errors import OutsideFault
from ci.native import leash
from ci.native import postgres_program as pg

SOCKET_PATH_BYTES_MAX = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, its NUL included
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
OPTIONS = {
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


def short_folder(who: pg.Account, prefix: str = "coh-pg-") -> Path:
    """A new folder of mode 0700, owned by `who`, whose path leaves room for a socket's name."""
    tail = f"/{prefix}12345678/run/.s.PGSQL.5432"
    for base in (Path(tempfile.gettempdir()).resolve(), Path("/", "tmp").resolve()):
        if len(os.fsencode(base)) + len(tail) <= SOCKET_PATH_BYTES_MAX and who.can_reach(base):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
            who.own(folder)
            return folder
    raise OutsideFault(f"no temporary folder of a short path that {who.name} reaches; set TMPDIR")


@contextlib.contextmanager
def server(copy_of: Path | None = None, *, standby: bool = False) -> Iterator[str]:
    """A superuser's libpq URL of a server that lives for the block.

    copy_of: the socket folder of a server whose state at this instant it begins with; None for an
    empty one. standby: it follows that server (streaming, asynchronous) until it is promoted.
    """
    who = pg.account()
    folder = short_folder(who)
    try:
        bin_dir = pg.reachable_installation(who, folder / "wheel") / "bin"
        data_dir, socket_dir, log = folder / "data", folder / "run", folder / "log"
        for path in (data_dir, socket_dir):
            path.mkdir(mode=0o700)
            who.own(path)
        if copy_of is None:
            pg.make_cluster(bin_dir, data_dir, who)
        else:
            _copy(bin_dir, data_dir, who, copy_of, standby=standby)
        command = pg.server_command(bin_dir, data_dir, socket_dir, OPTIONS)
        with log.open("wb") as out:
            process = subprocess.Popen(
                leash.command(command, signal.SIGINT, who.ids),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env=pg.CLEAN_ENVIRONMENT,
            )
        try:
            _wait_until_ready(process, data_dir, log)
            yield pg.socket_url(socket_dir)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(bin_dir: Path, data_dir: Path, who: pg.Account, source: Path, *, standby: bool) -> None:
    command = [f"{bin_dir}/pg_basebackup", f"--pgdata={data_dir}", f"--host={source}"]
    command += [f"--username={pg.SUPERUSER}", "--wal-method=stream", "--checkpoint=fast"]
    done = who.run([*command, "--no-sync", *(["--write-recovery-conf"] if standby else [])])
    if done.code != 0:
        raise OutsideFault(f"pg_basebackup failed ({done.code}):\n{done.stderr.strip()}")


def _wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> None:
    """The server takes connections: line 8 of postmaster.pid says so, as for pg_ctl."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError, IndexError):
            if (data_dir / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                return
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise OutsideFault(f"PostgreSQL {'ended' if ended else 'took too long'}:\n{last}")
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
            return


def main() -> int:
    """Serve until stdin ends or SIGTERM comes; stdout is the URL, or what failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser(prog="python -m ci.native.postgres_for_tests")
    parser.add_argument("--copy-of", type=Path, metavar="SOCKET_FOLDER")
    parser.add_argument("--standby", action="store_true")
    options = parser.parse_args()
    try:
        with server(options.copy_of, standby=options.standby) as url:
            print(url, flush=True)
            sys.stdin.read()
    except OutsideFault as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
