"""No organisation reaches another: by any route, and in the database by itself."""

import json
from uuid import UUID

import httpx
import psycopg2
import psycopg2.errors
import pytest
from conftest import INTERNAL, PASSWORD, UI, running_hub, wait_until
from embedded_postgres import execute, fresh_database
from shop import ACTOR, CUSTOMER, MAY, SELLER, Shop
from sqlalchemy import select, text

from user_billing import migrate
from user_billing.chassis.postgres import open_engine
from user_billing.db.people import audit_event, audit_head, membership, organisation
from user_billing.db.session import Database, within
from user_billing.db.tables import metadata
from user_billing.identifiers import new_id
from user_billing.invoices.corrections import Payment
from user_billing.model import Actor
from user_billing.quotas.tables import anomaly
from user_billing.wallets.rules import NewGrant, Source
from user_billing.wallets.service import draw
from user_billing.webhooks.outbox import emit
from user_billing.webhooks.rules import EventType

TENANT_TABLES = [organisation] + [
    table for table in metadata.sorted_tables if "org_id" in table.primary_key.columns
]
READABLE = (
    "subscriptions/current", "teams", "attribution", "costs", "keys", "members", "invitations",
    "meters", "usage/backfills", "wallets", "quotas", "guard", "webhooks", "invoices",
    "billing-details", "service-accounts",
)  # fmt: skip
COST = {
    "name": "Bill", "start": "2026-05-01T00:00:00Z", "end": "2026-06-01T00:00:00Z",
    "amount": "5", "currency": "EUR",
}  # fmt: skip

COOKIE_ONLY = {
    "/api/v1/oidc/{name}/link",
    "/api/v1/identities/{identity_id}",
    "/api/v1/sessions/{session_id}",
}
PUBLIC = {"/health", "/ready", "/metrics", "/.well-known/jwks.json"}


@pytest.fixture(scope="module")
def two(hub):
    """Two organisations with something in every table: one looks, the other is hidden."""
    shop = Shop.over(hub)
    mine, theirs = hub.owner("Mine"), hub.owner("Theirs")
    for owner in (mine, theirs):
        owner.key = owner.new_key("admin", "metrics:read", "metrics:write", "billing:read")
        invited = owner.post("/api/v1/invitations", {"email": "new@example.org", "role": "viewer"})
        owner.invitation = invited.json()
        owner.viewer = hub.member(owner, "viewer")
        owner.session_id = owner.get("/api/v1/sessions").json()["sessions"][0]["id"]
        report = {
            "tenant": owner.org, "hour": "2026-05-01T12:00:00Z", "revision": 1,
            "meters": {"samples": {"quantity": "1"}},
        }  # fmt: skip
        now = {**report, "hour": hub.clock.now().strftime("%Y-%m-%dT%H:00:00Z")}
        account = {"name": "machine", "scopes": ["metrics:write"]}
        owner.account = owner.post("/api/v1/service-accounts", account).json()
        body = {"source": "dis", "reports": [report, now]}
        httpx.post(f"{hub.base_url}/internal/usage", json=body, headers=INTERNAL, timeout=600)
        owner.meter = f"visitors_of_{owner.session['organisation']['slug']}".replace("-", "_")
        made = {"code": owner.meter, "unit": "people", "aggregation": "unique"}
        assert owner.post("/api/v1/meters", made).status_code == 201
        owner.backfill = owner.post("/api/v1/usage/backfills").json()
        event = {
            "specversion": "1.0", "source": "shop", "id": "1", "type": owner.meter,
            "time": hub.clock.now().isoformat(), "data": {"value": "somebody"},
        }  # fmt: skip
        sent = httpx.post(
            f"{hub.base_url}/api/v1/usage/events",
            content=json.dumps(event),
            headers={
                "X-API-Key": owner.key["key"],
                "Content-Type": "application/cloudevents+json",
            },
            timeout=600,
        )
        assert sent.status_code == 200, sent.text
        owner.team = owner.post("/api/v1/teams", {"name": "Red"}).json()["id"]
        rules = {"rules": [{"team": owner.team, "selector": "up"}]}
        owner.http.put("/api/v1/attribution", json=rules, headers=owner.headers())
        shares = {"": {"samples": 1, "series": 1}}
        split = {"hour": "2026-05-01T12:00:00Z", "revision": 1, "shares": shares}
        httpx.put(
            f"{hub.base_url}/internal/attribution",
            json={"tenant": owner.org, "version": 1, "hours": [split]},
            headers=INTERNAL,
            timeout=600,
        )
        owner.cost = owner.post("/api/v1/costs", COST).json()["id"]
        subscribed = owner.http.put(
            "/api/v1/subscriptions/current", json={"plan": "team"}, headers=owner.headers()
        )
        assert subscribed.status_code == 200, subscribed.text
        path = "/api/v1/quotas/samples/degrade"
        reached = owner.http.put(path, json={"limit": "1"}, headers=owner.headers())
        assert reached.status_code == 204, reached.text
        owner.anomaly = new_anomaly(hub, owner.org)
        owner.grant, owner.webhook = buy_and_listen(hub, owner)
        facts = CUSTOMER | {"legal_name": f"Owner {owner.org}"}
        hub.services.sellers.put_customer(UUID(owner.org), facts, ACTOR)
        owner.invoice = shop.final(UUID(owner.org), MAY)
        note = shop.corrections.credit(
            UUID(owner.org), owner.invoice, {1: 5}, key="k", reason="r", actor=ACTOR
        )
        owner.note = note.id
        payment = Payment(5, MAY.date(), f"of {owner.org}")
        shop.corrections.pay(UUID(owner.org), owner.invoice, payment, ACTOR)
        shop.invoices.pdf(UUID(owner.org), owner.invoice)
    hub.services.keys.flush_uses()  # else in the middle of a test
    return mine, theirs


def new_anomaly(hub, org):
    """The id of an anomaly of the organisation."""
    now, new = hub.clock.now(), str(new_id())
    with hub.services.database.organisation(UUID(org)) as session:
        session.execute(
            anomaly.insert().values(
                org_id=UUID(org), id=UUID(new), meter="samples", kind="denser", state="open",
                since=now, expected=1, actual=2,
            )
        )  # fmt: skip
    return new


def buy_and_listen(hub, owner):
    """The ids of a grant that was drawn from, and of a webhook that waits to deliver."""
    org, now = UUID(owner.org), hub.clock.now()
    new = NewGrant("EUR", 100, Source.GIFT, "welcome")
    grant = hub.services.wallets.grant(org, new, key="k", actor=Actor("test"))
    made = owner.http.post(
        "/api/v1/webhooks",
        json={"url": "https://127.0.0.1:1/"},
        headers=owner.headers() | {"Idempotency-Key": "k"},
    )
    with hub.services.database.organisation(org) as session:
        draw(session, org, key="invoice", currency="EUR", total=1, now=now)
        emit(session, org, EventType.KEY_REVOKED, {}, now)
    wait_until(lambda: owner.get("/api/v1/webhooks").json()["webhooks"][0]["failing_since"])
    return str(grant.id), made.json()["endpoint"]["id"]


def operations(hub):
    """Every operation that the service publishes."""
    paths = httpx.get(f"{hub.base_url}/openapi.json", timeout=600).json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def bodies(theirs):
    """A valid body for each operation that takes one, naming the other organisation."""
    return {
        "/api/v1/setup": {"token": "x", "email": "a@b", "password": PASSWORD, "organisation": "X"},
        "/api/v1/login": {"email": "nobody@example.org", "password": PASSWORD},
        "/api/v1/session/organisation": {"organisation_id": theirs.org},
        "/api/v1/token": {"audience": "das"},
        "/api/v1/keys": {"name": "k", "scopes": ["metrics:read"]},
        "/api/v1/members/{user_id}": {"role": "viewer"},
        "/api/v1/invitations": {"email": "third@example.org", "role": "viewer"},
        "/api/v1/invitations/accept": {"token": "x", "password": PASSWORD},
        "/api/v1/organisations": {"name": "Another"},
        "/api/v1/operator/plans/{plan}": {"name": "Another", "currency": "EUR"},
        "/api/v1/operator/organisations/{organisation_id}/subscription": {"plan": "team"},
        "/api/v1/subscriptions/current": {"plan": "team"},
        "/api/v1/subscriptions/preview": {"plan": "team"},
        "/api/v1/teams": {"name": "Another"},
        "/api/v1/attribution": {"rules": [{"team": theirs.team, "selector": "up"}]},
        "/api/v1/costs": COST,
        "/api/v1/operator/costs": COST,
        "/api/v1/meters": {"code": "another", "unit": "x", "aggregation": "sum"},
        "/api/v1/webhooks": {"url": "https://127.0.0.1:1/"},
        "/api/v1/webhooks/{webhook_id}": {"enabled": False},
        "/api/v1/webhooks/{webhook_id}/rotate": {},
        "/api/v1/webhooks/{webhook_id}/replay": {"failed_since": "2026-01-01T00:00:00Z"},
        "/api/v1/operator/organisations/{organisation_id}/wallet/grants": {
            "amount": "1.00",
            "currency": "EUR",
            "source": "gift",
            "reason": "none",
        },
        "/api/v1/operator/organisations/{organisation_id}/quotas/{meter}/{action}": {"limit": "5"},
        "/api/v1/quotas/{meter}/{action}": {"limit": "5"},
        "/api/v1/billing-details": CUSTOMER,
        "/api/v1/operator/seller": SELLER,
        "/api/v1/operator/invoices": {
            "organisation_id": theirs.org,
            "period_start": MAY.isoformat(),
        },
        "/api/v1/operator/invoices/{invoice_id}/void": {"reason": "r"},
        "/api/v1/login/code": {"challenge": "x", "code": "000000"},
        "/api/v1/second-factor/confirm": {"code": "000000"},
        "/api/v1/second-factor/recovery-codes": {"code": "000000"},
        "/api/v1/second-factor/disable": {"code": "000000"},
        "/api/v1/organisation/second-factor": {"required": False},
        "/api/v1/oidc/link": {"challenge": "x", "password": PASSWORD},
        "/api/v1/keys/{key_id}/rotate": {"overlap_s": 0},
        "/api/v1/keys/{key_id}": {"name": "taken"},
        "/api/v1/service-accounts": {"name": "machine", "scopes": ["metrics:write"]},
        "/api/v1/password/forgotten": {"email": "nobody@example.org"},
        "/api/v1/password/reset": {"token": "x", "password": PASSWORD},
        "/api/v1/email/verify": {"token": "x"},
        "/api/v1/email/confirm": {"token": "x"},
        "/api/v1/me/email": {"email": "n@example.org", "password": PASSWORD},
        "/api/v1/me/password": {"old": "not the password", "new": PASSWORD},
        "/api/v1/me/erase": {"password": "not the password"},
        "/api/v1/session/fresh": {"password": PASSWORD},
        "/api/v1/operator/organisations/{organisation_id}/suspend": {"reason": "x"},
    }


def filled(path, theirs):
    """The path with the other organisation's identifiers in it, and a range where it needs one."""
    if path.endswith("/statement"):
        path += "?start=2026-01-01T00:00:00Z&end=2026-02-01T00:00:00Z"
    return path.format(
        key_id=theirs.key["id"],
        user_id=theirs.viewer.user_id,
        invitation_id=theirs.invitation["id"],
        organisation_id=theirs.org,
        plan="team",
        version=1,
        team_id=theirs.team,
        cost_id=theirs.cost,
        code=theirs.meter,
        backfill_id=theirs.backfill["id"],
        ending="close",
        webhook_id=theirs.webhook,
        meter="none",
        action="warn",
        anomaly_id=theirs.anomaly,
        invoice_id=theirs.invoice,
        note_id=theirs.note,
        n=1,
        service_account_id=theirs.account["id"],
        identity_id=theirs.account["id"],
        name="nobody",
        session_id=theirs.session_id,
    ) if "{" in path else path  # fmt: skip


def hidden(theirs):
    """What must never appear in an answer to the others."""
    return [
        theirs.org,
        theirs.user_id,
        theirs.viewer.user_id,
        theirs.session["user"]["email"],
        theirs.viewer.session["user"]["email"],
        theirs.key["id"],
        theirs.key["start"],
        theirs.invitation["id"],
        theirs.meter,
        theirs.backfill["id"],
        theirs.team,
        theirs.cost,
        theirs.grant,
        theirs.webhook,
        theirs.anomaly,
        str(theirs.invoice),
        str(theirs.note),
        theirs.account["id"],
    ]


def readable(theirs):
    """What the other organisation reads of itself, but when its key was used last."""
    answers = [theirs.get(f"/api/v1/{what}").json() for what in READABLE]
    for key in answers[READABLE.index("keys")]["keys"]:
        del key["last_used_at"]
    return answers


def test_no_route_shows_or_changes_another_organisation(hub, two):
    """Every published route, called by the owner, an admin key and a token of one organisation with
    the identifiers of another, answers without a trace of it and leaves it as it was.
    """
    mine, theirs = two
    before = readable(theirs)
    tested = 0
    for method, path in operations(hub):
        if path in PUBLIC or path == "/api/v1/logout":
            continue
        url, body = filled(path, theirs), bodies(theirs).get(path)
        token = mine.post("/api/v1/token", {"audience": "ubs"}).json()["token"]
        answers = [
            mine.http.request(method, url, json=body, headers=mine.headers()),
            httpx.request(
                method,
                hub.base_url + url,
                json=body,
                headers={"X-API-Key": mine.key["key"]},
                timeout=600,
            ),
            httpx.request(
                method,
                hub.base_url + url,
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=600,
            ),
        ]
        for number, answer in enumerate(answers):
            if "{" in path:
                refused = 403 if "/operator/" in path or (number and path in COOKIE_ONLY) else 404
                assert answer.status_code == refused, (method, path, answer.text)
            leaked = [secret for secret in hidden(theirs) if secret in answer.text]
            if answer.status_code == 404:  # which names what was asked for
                leaked = [secret for secret in leaked if secret not in f"{url} {body}"]
            assert not leaked, (method, path, answer.text)
            tested += 1
    assert tested >= 3 * 20
    assert readable(theirs) == before


def test_entering_a_foreign_organisation_is_refused(two):
    """A person cannot take a session into an organisation they do not belong to."""
    mine, theirs = two
    answer = mine.post("/api/v1/session/organisation", {"organisation_id": theirs.org})
    assert answer.status_code == 404
    assert mine.get("/api/v1/session").json()["organisation"]["id"] == mine.org


def test_no_header_or_parameter_names_the_tenant(hub, two):
    """X-Scope-OrgID, a query parameter or another header changes nothing."""
    mine, theirs = two
    answer = httpx.get(
        f"{hub.base_url}/api/v1/members",
        params={"org": theirs.org, "tenant": theirs.org},
        headers={"X-API-Key": mine.key["key"], "X-Scope-OrgID": theirs.org, "X-Tenant": theirs.org},
        timeout=600,
    )
    found = {m["user_id"] for m in answer.json()["members"]}
    assert {mine.user_id, mine.viewer.user_id} <= found
    assert found.isdisjoint({theirs.user_id, theirs.viewer.user_id})


# In the database itself


@pytest.fixture
def database(hub):
    return hub.services.database


def rows(session, table):
    return session.execute(select(*granted(table))).all()


def granted(table):
    """The columns that the application's role may read."""
    secret = {"hash", "token_hash", "pepper_version", "invited_by"}
    return [c for c in table.c if table in {audit_event, audit_head} or c.name not in secret]


def org_of(table, row):
    return row.id if table is organisation else row.org_id


@pytest.mark.parametrize("table", TENANT_TABLES, ids=lambda table: table.name)
def test_a_query_without_a_filter_sees_one_organisation(database, two, table):
    """Row-level security alone, without our WHERE, hides every other organisation; the login
    being a superuser changes nothing, because no statement runs as the login.
    """
    mine, _ = two
    with database.organisation(UUID(mine.org)) as session:
        assert session.execute(text("SELECT session_user")).scalar_one() == "postgres"
        assert (
            session.execute(text("SELECT current_user")).scalar_one() == "cloudopshub_billing_app"
        )
        found = rows(session, table)
    assert found
    assert {org_of(table, row) for row in found} == {UUID(mine.org)}


@pytest.mark.parametrize("setting", [None, ""], ids=["never set", "left empty"])
def test_without_an_organisation_nothing_is_seen(hub, database, two, setting):
    """A setting never set, or empty after an earlier transaction, gives zero rows, no error."""
    engine = one_connection(hub)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE cloudopshub_billing_app"))
        if setting is not None:
            connection.execute(text("SELECT set_config('app.org', :org, true)"), {"org": setting})
        for table in TENANT_TABLES:
            assert connection.execute(select(*granted(table))).all() == []
    engine.dispose()


def test_a_pooled_connection_forgets_the_organisation(hub, database, two):
    """The next user of the same connection starts with neither role nor organisation."""
    mine, _ = two
    engine = one_connection(hub)
    pooled = Database(engine)
    with pooled.organisation(UUID(mine.org)) as session:
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() == pid
        assert connection.execute(text("SELECT current_user = session_user")).scalar_one()
        assert (
            connection.execute(text("SELECT current_setting('app.org', true)")).scalar_one() == ""
        )
        connection.execute(text("SET LOCAL ROLE cloudopshub_billing_app"))
        assert connection.execute(select(membership)).all() == []
    engine.dispose()


def test_a_rolled_back_transaction_forgets_too(hub, database, two):
    """An error inside a block leaves no organisation behind on the connection."""
    mine, _ = two
    engine = one_connection(hub)
    pooled = Database(engine)
    with (
        pytest.raises(RuntimeError),
        pooled.directory() as session,
        within(session, UUID(mine.org)),
    ):
        raise RuntimeError
    with engine.begin() as connection:
        assert connection.execute(text("SELECT current_user = session_user")).scalar_one()
    engine.dispose()


def test_writing_into_another_organisation_is_refused(database, two):
    """WITH CHECK: a row that names another organisation is not inserted, updated or deleted."""
    mine, theirs = two
    member = {"u": mine.user_id, "o": theirs.org}
    statements = [
        "INSERT INTO billing.membership VALUES (:o, :u, 'owner', now())",
        "UPDATE billing.membership SET role = 'owner' WHERE org_id = :o",
        "DELETE FROM billing.membership WHERE org_id = :o",
        "UPDATE billing.api_key SET revoked_at = now() WHERE org_id = :o",
        "UPDATE billing.organisation SET name = 'taken' WHERE id = :o",
    ]
    for statement in statements:
        with database.organisation(UUID(mine.org)) as session:
            if statement.startswith("INSERT"):
                with pytest.raises(Exception, match="row-level security"):
                    session.execute(text(statement), member)
                session.rollback()
            else:
                assert session.execute(text(statement), member).rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM billing.credential",
        "SELECT * FROM billing.session",
        "SELECT * FROM billing.signing_key",
        "SELECT hash FROM billing.api_key",
        "SELECT token_hash FROM billing.invitation",
        "SELECT disabled_at FROM billing.user_account",
        "UPDATE billing.audit_event SET actor = 'nobody'",
        "DELETE FROM billing.audit_event",
        "TRUNCATE billing.audit_event",
        "UPDATE billing.organisation SET plan = 'showback'",
        "UPDATE billing.plan SET active_series = NULL",
        "UPDATE billing.meter SET unit = 'x'",
        "UPDATE billing.usage_event SET value = '0'",
        "DELETE FROM billing.usage_hour",
        "DELETE FROM billing.usage_value",
        "UPDATE billing.seller SET legal_name = 'x'",
        "UPDATE billing.number_counter SET last = 1",
        "DELETE FROM billing.invoice",
        "UPDATE billing.invoice_line SET amount = 0",
        "TRUNCATE billing.invoice_line",
        "INSERT INTO billing.revocation (kind, ref, at) VALUES ('key', gen_random_uuid(), now())",
    ],
)
def test_the_application_role_is_granted_only_its_work(database, two, statement):
    """Inside an organisation there is no way to secrets, sessions, plans or the past."""
    mine, _ = two
    with (
        pytest.raises(Exception, match="permission denied"),
        database.organisation(UUID(mine.org)) as session,
    ):
        session.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing.membership SET role = 'owner'",
        "INSERT INTO billing.membership SELECT id, id, 'owner', now() FROM billing.organisation",
        "UPDATE billing.api_key SET revoked_at = NULL",
        "UPDATE billing.organisation SET name = 'x'",
        "SELECT * FROM billing.audit_event",
        "SELECT name FROM billing.api_key",
        "SELECT payload FROM billing.invoice",
        "SELECT * FROM billing.invoice_line",
        "UPDATE billing.billing_period SET state = 'open'",
        "DELETE FROM billing.user_account",
    ],
)
def test_the_directory_role_cannot_change_organisations(database, statement):
    """The path across organisations reads what look-ups need and writes into no organisation."""
    with pytest.raises(Exception, match="permission denied"), database.directory() as session:
        session.execute(text(statement))


def test_the_roles_cannot_bypass_policies(database):
    """Both roles: no log-in, superuser or BYPASSRLS; every organisation's table forces RLS."""
    with database.engine.connect() as connection:
        roles = connection.execute(
            text(
                "SELECT rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles"
                " WHERE rolname LIKE 'cloudopshub_billing_%'"
            )
        ).scalars()
        assert list(roles) == [False, False]
        open_tables = connection.execute(
            text(
                "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
                " WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r'"
                " AND (a.attname = 'org_id' OR c.relname = 'organisation') AND NOT a.attisdropped"
                " AND c.relname <> 'session'"
                " AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
            )
        ).scalars()
        assert set(open_tables) == set()


def test_the_audit_log_cannot_be_changed_by_the_superuser_either(database, two):
    """UPDATE, DELETE and TRUNCATE are refused by triggers, whoever asks."""
    for statement in (
        "UPDATE billing.audit_event SET actor = 'nobody'",
        "DELETE FROM billing.audit_event",
        "TRUNCATE billing.audit_event",
        "TRUNCATE billing.organisation CASCADE",
    ):
        with (
            database.engine.connect() as connection,
            pytest.raises(Exception, match="only grows"),
        ):
            connection.execute(text(statement))


def test_an_ordinary_login_is_enough(server_url):
    """With a login that is no superuser and owns its tables, all works and stays separate."""
    name = f"ubs_login_{new_id().hex[-8:]}"
    with fresh_database(server_url, "ubs_login") as admin_url:
        database = execute(admin_url, "SELECT current_database()")
        execute(admin_url, f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'x'")
        new = int(execute(admin_url, "SHOW server_version_num")) >= 160_000
        how = " WITH INHERIT FALSE, SET TRUE" if new else ""
        for role in ("cloudopshub_billing_app", "cloudopshub_billing_directory"):
            exists = execute(server_url, f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'")
            if exists:
                execute(admin_url, f"GRANT {role} TO {name}{how}")
        execute(admin_url, f'GRANT CREATE ON DATABASE "{database}" TO {name}')
        url = admin_url.replace("postgres@", f"{name}:x@").replace("postgres:", f"{name}:x:")
        try:
            with psycopg2.connect(url) as probe:
                assert probe.info.user == name
            migrate.upgrade(url)
            with running_hub(url, setup_token="setup-token-for-login") as hub:
                owner = hub.browser()
                owner.adopt(
                    owner.post(
                        "/api/v1/setup",
                        {
                            "token": "setup-token-for-login",
                            "email": "o@example.org",
                            "password": PASSWORD,
                            "organisation": "Plain",
                        },
                    )
                )
                key = owner.new_key("metrics:read")
                assert hub.introspect(key["key"])["active"]
                with hub.services.database.engine.begin() as connection:
                    seen = connection.execute(select(membership)).all()
                    assert seen == [] or not new, "FORCE binds the owner too"
        finally:
            execute(admin_url, f"DROP OWNED BY {name} CASCADE")
            execute(server_url, f"DROP ROLE {name}")


def test_internal_routes_need_the_service_token(hub, two):
    """No key, token or cookie opens /internal; a wrong service token is 401."""
    mine, _ = two
    for method, path in operations(hub):
        if not path.startswith("/internal"):
            continue
        for headers in ({}, {"X-API-Key": mine.key["key"]}, {"Authorization": "Bearer wrong"}):
            answer = mine.http.request(method, path, headers={**headers, "Origin": UI})
            assert answer.status_code == 401, (method, path)
    assert INTERNAL["Authorization"] not in answer.text


def one_connection(hub):
    """An engine of the test's own that has one connection."""
    return open_engine(
        hub.services.settings.database_url.get_secret_value(),
        "tests",
        pool_size=1,
        overflow=0,
        statement_timeout_ms=600_000,
        lock_timeout_ms=600_000,
    )
