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
from ci.native import leash, postgres

SOCKET_PATH_BYTES_MAX = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, its NUL included
START_TIMEOUT_S, STOP_TIMEOUT_S = 600.0, 10.0
# commits keep their meaning; what guards against a lost machine is off
OPTIONS = (
    "synchronous_commit=on fsync=off full_page_writes=off autovacuum=off jit=off "
    "max_connections=200 shared_buffers=64MB max_wal_size=2GB"
)


def short_folder(who: postgres.Account) -> Path:
    """A new folder of mode 0700, owned by `who`, whose path leaves room for a socket's name."""
    for base in (Path(tempfile.gettempdir()).resolve(), Path("/", "tmp").resolve()):
        longest = base / "coh-pg-12345678/run/.s.PGSQL.5432"
        if len(os.fsencode(longest)) <= SOCKET_PATH_BYTES_MAX and who.can_reach(base):
            folder = Path(tempfile.mkdtemp(prefix="coh-pg-", dir=base))
            who.make_private(folder)
            return folder
    raise OutsideFault(f"no temporary folder of a short path that {who.name} reaches; set TMPDIR")


@contextlib.contextmanager
def running_server(copy_of: Path | None = None, *, standby: bool = False) -> Iterator[str]:
    """A superuser's libpq URL of a server that lives for the block.

    copy_of: the socket folder of a server whose state it begins with; standby: and then follows.
    """
    who = postgres.account()
    folder = short_folder(who)
    server = postgres.Server(who, folder / "data", folder / "run", folder / "wheel")
    log = folder / "log"
    try:
        if copy_of is not None:
            _copy(server, copy_of, standby=standby)
        with log.open("wb") as out:
            process = subprocess.Popen(
                leash.command(server.command(OPTIONS), signal.SIGINT, who.ids),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env=postgres.CLEAN_ENVIRONMENT,
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not server.is_ready(process.pid):
                if process.poll() is not None or time.monotonic() > deadline:
                    last_lines = log.read_text(errors="replace")[-2000:]
                    raise OutsideFault(f"PostgreSQL did not start:\n{last_lines}")
                time.sleep(0.02)
            yield server.url(database=postgres.SUPERUSER)
        finally:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_TIMEOUT_S)
                    break
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(server: postgres.Server, source: Path, *, standby: bool) -> None:
    server.who.make_private(server.data_dir)
    bin_dir = postgres.reachable_installation(server.who, server.program_copy) / "bin"
    command = [f"{bin_dir}/pg_basebackup", f"--pgdata={server.data_dir}", f"--host={source}"]
    command += [f"--username={postgres.SUPERUSER}", "--wal-method=stream", "--checkpoint=fast"]
    command += ["--no-sync", *(["--write-recovery-conf"] if standby else [])]
    server.who.run(*command).good("pg_basebackup failed")


def main() -> int:
    """Serve until stdin ends or SIGTERM comes; stdout is the URL, or what failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parser = argparse.ArgumentParser(prog="python -m ci.native.postgres_for_tests")
    parser.add_argument("--copy-of", type=Path, metavar="SOCKET_FOLDER")
    parser.add_argument("--standby", action="store_true")
    options = parser.parse_args()
    try:
        with running_server(options.copy_of, standby=options.standby) as url:
            print(url, flush=True)
            sys.stdin.read()
    except OutsideFault as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
