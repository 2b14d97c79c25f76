"""A database role for each service: what its login reaches, and what it is refused."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ci import catalogue, environments
from ci.native import postgres
from ci.tests import embedded_postgres as pg

LISTED = catalogue.load()
SCHEMAS = {"dis": "metrics", "das": "rules", "aps": "analysis", "ubs": "billing"}
OWN = {code: f"cloudopshub_{code}" for code in SCHEMAS}
SHARED = dict.fromkeys(SCHEMAS, "cloudopshub")
OLDER = """
    CREATE ROLE cloudopshub LOGIN CREATEROLE;
    CREATE DATABASE cloudopshub OWNER cloudopshub
"""
OBJECTS = """
    SELECT nspname || ' ' || pg_get_userbyid(nspowner) FROM pg_namespace
    WHERE nspname IN ('metrics', 'rules', 'analysis', 'billing')
    UNION SELECT nspname || ' ' || pg_get_userbyid(relowner)
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname IN ('metrics', 'rules', 'analysis', 'billing')
    UNION SELECT nspname || ' ' || pg_get_userbyid(proowner)
    FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname IN ('metrics', 'rules', 'analysis', 'billing')
"""
RIGHTS = """
    SELECT c.oid::regclass, a.grantee::regrole, a.privilege_type
    FROM pg_class c, aclexplode(relacl) a
    WHERE relnamespace = to_regnamespace('billing') AND a.grantee <> relowner
    UNION SELECT attrelid::regclass, a.grantee::regrole, attname || a.privilege_type
    FROM pg_attribute, aclexplode(attacl) a
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('billing'))
"""

NEWEST = """
    SELECT max(xmin::text::bigint) FROM (
      SELECT xmin FROM pg_class WHERE relnamespace > 16383 UNION SELECT xmin FROM pg_authid) AS rows
"""


class Hub:
    """The platform's database in a server of its own."""

    def __init__(self, superuser_url):
        self.superuser_url = superuser_url

    def url(self, user, database="cloudopshub"):
        return re.sub(r"//.*@/\w+", f"//{user}@/{database}", self.superuser_url)

    def execute(self, sql, user="postgres"):
        return pg.execute(self.url(user), sql)

    def make_roles(self, user="postgres", **passwords):
        """roles.sql has run."""
        psql = [postgres.installation() / "bin" / "psql", "-Xq", self.url(user, "postgres")]
        given = {f"POSTGRES_{code.upper()}_PASSWORD": text for code, text in passwords.items()}
        with postgres.ROLES.open() as script:
            done = subprocess.run(
                psql,
                check=False,
                stdin=script,
                env=os.environ | given,
                text=True,
                capture_output=True,
            )
        assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)

    def migrate(self, users):
        """Each service with tables has migrated, as the login that `users` has for it."""
        for code in SCHEMAS:
            service = LISTED.service(code)
            folder = LISTED.root / service.folder
            done = subprocess.run(
                [environments.python_of(folder), "-m", service.migrate],
                check=False,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "DATABASE_URL": self.url(users[code])},
                text=True,
                capture_output=True,
            )
            assert done.returncode == 0, done.stderr


@pytest.fixture
def hub(monkeypatch):
    """A server of its own: roles belong to all of one."""
    monkeypatch.delenv("TEST_POSTGRES_URL", raising=False)
    for service in LISTED.services:
        if service.migrate and not environments.python_of(LISTED.root / service.folder).exists():
            pytest.skip(f"{service.folder} has no environment: run `make venvs`")
    with pg.running_postgres() as url:
        yield Hub(url)


def older(hub):
    """One role owns all and has run the migrations, as before there were roles."""
    for statement in OLDER.split(";"):
        pg.execute(hub.superuser_url, statement)
    hub.migrate(SHARED)
    hub.execute("INSERT INTO billing.signing_key VALUES ('k', 'active', 'a', 'b', now())")


@pytest.mark.parametrize("before", [None, older], ids=["new", "taken over"])
def test_no_service_reaches_anothers_schema(hub, before):
    """Each owns its own and everything in it; das reads metrics; all else is refused: neither
    credentials nor signing keys are read, and nobody becomes another.
    """
    if before:
        before(hub)
    hub.make_roles()
    hub.migrate(OWN)
    owners = {f"{schema} {OWN[code]}" for code, schema in SCHEMAS.items()}
    assert set(hub.execute(OBJECTS).splitlines()) == owners
    for code, user in OWN.items():
        for schema in SCHEMAS.values():
            tables = hub.execute(
                f"SELECT c.oid::regclass FROM pg_class c WHERE relkind IN ('r', 'p')"
                f" AND relnamespace = to_regnamespace('{schema}')"
            ).split()
            assert tables
            for table in tables:
                select, delete = f"SELECT FROM {table} LIMIT 0", f"DELETE FROM {table}"
                if SCHEMAS.get(code) == schema:
                    hub.execute(select, user)
                    continue
                if (code, schema) == ("das", "metrics"):
                    hub.execute(select, user)
                else:
                    refused(hub, select, user)
                refused(hub, delete, user)
            if SCHEMAS.get(code) != schema:
                refused(hub, f"CREATE TABLE {schema}.mine ()", user)
        refused(hub, "CREATE SCHEMA mine", user)
        refused(hub, "CREATE ROLE mine", user)
        others = {*OWN.values(), "postgres", "cloudopshub_billing_app"} - {user}
        for other in others - ({"cloudopshub_billing_app"} if code == "ubs" else set()):
            refused(hub, f"SET ROLE {other}", user)
    hub.execute("CREATE TABLE metrics.later ()", OWN["dis"])
    hub.execute("SELECT FROM metrics.later", OWN["das"])


def refused(hub, sql, user):
    with pytest.raises(pg.PostgresError, match="permission denied"):
        hub.execute(sql, user)


def test_an_older_installation_is_taken_over(hub):
    """Rows and the rights of the two roles of ubs stay, the shared role logs in no more; a second
    time changes nothing.
    """
    older(hub)
    rights = set(hub.execute(RIGHTS).splitlines())
    hub.make_roles()
    assert hub.execute("SELECT kid FROM billing.signing_key") == "k"
    assert rights
    assert set(hub.execute(RIGHTS).splitlines()) == rights
    with pytest.raises(pg.PostgresError, match="not permitted to log in"):
        hub.execute("SELECT 1", "cloudopshub")
    before = hub.execute(NEWEST)
    hub.make_roles()
    assert hub.execute(NEWEST) == before


def test_a_backup_comes_back_with_its_roles(hub, tmp_path):
    """The runbook's commands bring back rows, owners and every right, in another cluster."""
    (tmp_path / "objects").mkdir()
    hub.make_roles()
    hub.migrate(OWN)
    hub.execute("INSERT INTO billing.signing_key VALUES ('k', 'active', 'a', 'b', now())")
    runbook(hub, "backup", tmp_path)
    owners, rights = (set(hub.execute(sql).splitlines()) for sql in (OBJECTS, RIGHTS))
    with pg.running_postgres() as url:
        fresh = Hub(url)
        fresh.make_roles()
        runbook(fresh, "restore", tmp_path)
        fresh.make_roles()
        assert fresh.execute("SELECT kid FROM billing.signing_key", OWN["ubs"]) == "k"
        assert set(fresh.execute(OBJECTS).splitlines()) == owners
        assert set(fresh.execute(RIGHTS).splitlines()) == rights
        fresh.execute("SELECT FROM metrics.batch", OWN["das"])


def runbook(hub, part, folder):
    """The commands under the mark `part` have run."""
    text = (LISTED.root / "docs" / "runbooks" / "backup-and-restore.md").read_text()
    commands = re.search(rf"<!-- tested: {part} -->\n```sh\n(.*?)```", text, re.DOTALL)[1]
    programs = postgres.installation() / "bin"
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "DATABASE_URL": hub.url("postgres")}
    env |= {"OBJECTS": str(folder / "objects"), "BACKUP": str(folder / "backup")}
    words = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(words, check=False, env=env, text=True, capture_output=True)
    assert (done.stderr, done.returncode) == ("", 0)


def test_passwords_are_set_when_given(hub):
    """Each role has its own, of any characters; another start changes one or leaves all."""
    passwords = {code: f"{code} wo/rd'\"\\:%$" for code in OWN}
    hub.make_roles(**passwords)
    stored = "SELECT string_agg(rolpassword, ',' ORDER BY rolname) FROM pg_authid WHERE rolcanlogin"
    first = hub.execute(stored)
    assert first.count("SCRAM-SHA-256") == len(OWN)
    hub.make_roles()
    assert hub.execute(stored) == first


def test_an_administrator_without_superuser_can_do_it(hub):
    """As a managed server has one: it may make roles and databases."""
    pg.execute(hub.superuser_url, "CREATE ROLE admin LOGIN CREATEROLE CREATEDB")
    hub.make_roles("admin")
    hub.migrate(OWN)
    hub.make_roles("admin")
    hub.execute("SELECT FROM metrics.batch", OWN["das"])
    refused(hub, "SELECT FROM billing.credential", OWN["dis"])


@pytest.mark.parametrize("is_older", [False, True], ids=["new", "older"])
def test_a_new_cluster_has_no_database_that_nobody_uses(hub, is_older):
    """The embedded server's: initdb's own becomes the services'; where there are both, both stay.
    Each further start changes nothing.
    """
    if is_older:
        hub.make_roles()
    (folder,) = parse_qs(urlsplit(hub.superuser_url).query)["host"]
    server = postgres.Server(postgres.account(), Path("/"), Path(folder), Path("/"))
    for _ in range(2):
        server.make_roles()
        names = hub.execute("SELECT datname FROM pg_database WHERE NOT datistemplate").split()
        assert sorted(names) == ["cloudopshub", "postgres"][: 1 + is_older]
