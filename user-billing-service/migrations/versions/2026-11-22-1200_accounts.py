"""accounts: organisations, people, sessions, keys, tokens, audit; two roles; row-level security

    login (owner of the tables; a superuser in the embedded server)
      ├─ SET ROLE cloudopshub_billing_app        policy: org_id = app.org, for all commands
      └─ SET ROLE cloudopshub_billing_directory  policy: true, for the columns granted below

Roles belong to the whole server, so another database of it may have made them already, or be making
them now. They stay when this migration is undone: another database may be using them.
"""

from alembic import op

# ruff: noqa: S608 - every name in these statements is a constant of this file

revision = "202611221200"
down_revision = None
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"

MAKE_ROLE = """
DO $$
DECLARE
  attempt integer := 0;
  can_set text := CASE WHEN current_setting('server_version_num')::int >= 160000
                       THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
BEGIN
  LOOP
    attempt := attempt + 1;
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
      END IF;
      IF EXISTS (SELECT 1 FROM pg_roles
                 WHERE rolname = '{role}' AND (rolsuper OR rolbypassrls)) THEN
        RAISE EXCEPTION 'role {role} may bypass row-level security'
          USING HINT = 'ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS';
      END IF;
      BEGIN
        EXECUTE 'GRANT {role} TO CURRENT_USER' || can_set;
      EXCEPTION WHEN insufficient_privilege THEN
        IF NOT {has_role} THEN
          RAISE EXCEPTION 'role {role} exists, and % may neither use it nor grant it to itself',
            current_user
            USING HINT = format('as a superuser: GRANT {role} TO %I', current_user) || can_set;
        END IF;
      END;
      EXIT;
    EXCEPTION WHEN duplicate_object OR unique_violation OR internal_error THEN
      -- another database of this server made the role or the grant in this very moment
      IF attempt >= 20 THEN RAISE; END IF;
      PERFORM pg_sleep(0.05 * attempt);
    END;
  END LOOP;
END $$
"""

TABLES = """
CREATE TABLE billing.plan (
  code text PRIMARY KEY, name text NOT NULL,
  samples_per_s bigint CHECK (samples_per_s > 0),
  burst_samples bigint CHECK (burst_samples > 0),
  active_series bigint CHECK (active_series > 0),
  retention_days integer CHECK (retention_days > 0),
  query_samples bigint CHECK (query_samples > 0),
  query_concurrency integer CHECK (query_concurrency > 0));

CREATE TABLE billing.organisation (
  id uuid PRIMARY KEY, name text NOT NULL, slug text NOT NULL UNIQUE,
  plan text NOT NULL DEFAULT 'showback' REFERENCES billing.plan, created_at timestamptz NOT NULL);

CREATE TABLE billing.user_account (
  id uuid PRIMARY KEY, email text NOT NULL, created_at timestamptz NOT NULL,
  disabled_at timestamptz);
CREATE UNIQUE INDEX user_account_email ON billing.user_account (lower(email));

CREATE TABLE billing.credential (
  user_id uuid REFERENCES billing.user_account ON DELETE CASCADE,
  kind text CHECK (kind IN ('password')), secret text NOT NULL, updated_at timestamptz NOT NULL,
  PRIMARY KEY (user_id, kind));

CREATE TABLE billing.membership (
  org_id uuid REFERENCES billing.organisation, user_id uuid REFERENCES billing.user_account,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'viewer')), joined_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, user_id));
CREATE INDEX membership_of_user ON billing.membership (user_id);

CREATE TABLE billing.invitation (
  org_id uuid REFERENCES billing.organisation, id uuid, email text NOT NULL,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'viewer')), token_hash bytea NOT NULL UNIQUE,
  invited_by text NOT NULL, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL,
  accepted_at timestamptz, revoked_at timestamptz, PRIMARY KEY (org_id, id));
CREATE UNIQUE INDEX invitation_open ON billing.invitation (org_id, lower(email))
  WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE TABLE billing.session (
  id uuid PRIMARY KEY, token_hash bytea NOT NULL UNIQUE,
  user_id uuid NOT NULL REFERENCES billing.user_account,
  org_id uuid NOT NULL REFERENCES billing.organisation,
  created_at timestamptz NOT NULL, fresh_at timestamptz NOT NULL, last_seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL, revoked_at timestamptz);
CREATE INDEX session_of_member ON billing.session (user_id, org_id) WHERE revoked_at IS NULL;
CREATE INDEX session_expiry ON billing.session (expires_at);

CREATE TABLE billing.api_key (
  org_id uuid REFERENCES billing.organisation, id uuid, name text NOT NULL, start text NOT NULL,
  hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32), pepper_version smallint NOT NULL,
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0), created_at timestamptz NOT NULL,
  created_by text NOT NULL, last_used_at timestamptz, expires_at timestamptz,
  revoked_at timestamptz, PRIMARY KEY (org_id, id));

CREATE TABLE billing.signing_key (
  kid text PRIMARY KEY, state text NOT NULL CHECK (state IN ('next', 'active', 'retired')),
  public_key bytea NOT NULL, private_key_sealed bytea NOT NULL, created_at timestamptz NOT NULL,
  activated_at timestamptz, retired_at timestamptz);
CREATE UNIQUE INDEX signing_key_one ON billing.signing_key (state)
  WHERE state IN ('next', 'active');

CREATE TABLE billing.revocation (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('key', 'session', 'user', 'organisation')),
  ref uuid NOT NULL, at timestamptz NOT NULL);

CREATE TABLE billing.throttle (
  bucket text PRIMARY KEY, failures integer NOT NULL, last_at timestamptz NOT NULL,
  blocked_until timestamptz);

CREATE TABLE billing.setup (
  "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"), nonce bytea NOT NULL,
  home_org uuid REFERENCES billing.organisation, announced_at timestamptz,
  completed_at timestamptz);

CREATE TABLE billing.audit_head (
  org_id uuid PRIMARY KEY REFERENCES billing.organisation, seq bigint NOT NULL,
  hash bytea NOT NULL);

CREATE TABLE billing.audit_event (
  org_id uuid REFERENCES billing.organisation, seq bigint, at timestamptz NOT NULL,
  actor text NOT NULL, action text NOT NULL, target text NOT NULL, detail jsonb NOT NULL,
  request_id text, prev_hash bytea NOT NULL, hash bytea NOT NULL, PRIMARY KEY (org_id, seq));

CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of % is refused: the audit log only grows', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_event_is_final BEFORE UPDATE OR DELETE ON billing.audit_event
  FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
-- a row trigger does not see TRUNCATE
CREATE TRIGGER audit_event_stays BEFORE TRUNCATE ON billing.audit_event
  FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

INSERT INTO billing.plan (code, name, samples_per_s, burst_samples, active_series, retention_days,
                          query_samples, query_concurrency)
VALUES ('showback', 'Showback', NULL, NULL, 1000000, 400, 50000000, 20);
"""

# nullif: after a transaction that used it, the setting reads '' on that connection, and ''::uuid
# raises.
CURRENT_ORG = "nullif(current_setting('app.org', true), '')::uuid"

TENANT_TABLES = {
    "organisation": "id",
    "membership": "org_id",
    "invitation": "org_id",
    "api_key": "org_id",
    "audit_head": "org_id",
    "audit_event": "org_id",
}

APP_GRANTS = {
    "plan": "SELECT",
    "organisation": "SELECT, INSERT, UPDATE (name, slug)",
    "user_account": "SELECT (id, email)",
    "membership": "SELECT, INSERT, UPDATE (role), DELETE",
    "invitation": "SELECT (org_id, id, email, role, expires_at, accepted_at, revoked_at,"
    " created_at), INSERT, UPDATE (accepted_at, revoked_at)",
    "api_key": "SELECT (org_id, id, name, start, scopes, created_at, created_by, last_used_at,"
    " expires_at, revoked_at), INSERT, UPDATE (revoked_at)",
    "audit_head": "SELECT, INSERT, UPDATE (seq, hash)",
    "audit_event": "SELECT, INSERT",
}

DIRECTORY_GRANTS = {
    "plan": "SELECT",
    "organisation": "SELECT",
    "user_account": "SELECT, INSERT",
    "credential": "SELECT, INSERT, UPDATE (secret, updated_at)",
    "membership": "SELECT",
    "invitation": "SELECT",
    "session": "SELECT, INSERT, UPDATE (last_seen_at, revoked_at), DELETE",
    "api_key": "SELECT (org_id, id, hash, scopes, last_used_at, expires_at, revoked_at),"
    " UPDATE (last_used_at)",
    "signing_key": "SELECT, INSERT, UPDATE (state, activated_at, retired_at), DELETE",
    "revocation": "SELECT, INSERT, DELETE",
    "throttle": "SELECT, INSERT, UPDATE, DELETE",
    "setup": "SELECT, INSERT, UPDATE (home_org, announced_at, completed_at)",
}

DIRECTORY_ROWS = ("organisation", "user_account", "membership", "invitation", "api_key")


def upgrade() -> None:
    at_least_16 = "pg_has_role(current_user, '{role}', 'SET')"
    before_16 = "pg_has_role(current_user, '{role}', 'MEMBER')"
    version = op.get_bind().exec_driver_sql("SHOW server_version_num").scalar_one()
    has_role = at_least_16 if int(version) >= 160000 else before_16
    for role in (APP, DIRECTORY):
        op.execute(MAKE_ROLE.format(role=role, has_role=has_role.format(role=role)))
    op.execute(TABLES)
    for role, grants in ((APP, APP_GRANTS), (DIRECTORY, DIRECTORY_GRANTS)):
        op.execute(f"GRANT USAGE ON SCHEMA billing TO {role}")
        for table, privileges in grants.items():
            op.execute(f"GRANT {privileges} ON billing.{table} TO {role}")
    for table, column in TENANT_TABLES.items():
        _protect(table)
        op.execute(
            f"CREATE POLICY one_organisation ON billing.{table} TO {APP}"
            f" USING ({column} = {CURRENT_ORG}) WITH CHECK ({column} = {CURRENT_ORG})"
        )
    _protect("user_account")
    op.execute(
        f"CREATE POLICY fellow_members ON billing.user_account FOR SELECT TO {APP} USING (EXISTS ("
        "SELECT 1 FROM billing.membership m"
        f" WHERE m.user_id = user_account.id AND m.org_id = {CURRENT_ORG}))"
    )
    for table in DIRECTORY_ROWS:
        op.execute(f"CREATE POLICY directory ON billing.{table} TO {DIRECTORY} USING (true)")
    op.execute(
        "REVOKE ALL ON ALL TABLES IN SCHEMA billing FROM PUBLIC;"
        " REVOKE ALL ON FUNCTION billing.refuse_change() FROM PUBLIC"
    )


def _protect(table: str) -> None:
    op.execute(f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute(
        "DROP TABLE billing.audit_event, billing.audit_head, billing.setup, billing.throttle,"
        " billing.revocation, billing.signing_key, billing.api_key, billing.session,"
        " billing.invitation, billing.membership, billing.credential, billing.user_account,"
        " billing.organisation, billing.plan"
    )
    op.execute("DROP FUNCTION billing.refuse_change()")
    for role in (APP, DIRECTORY):
        op.execute(f"REVOKE USAGE ON SCHEMA billing FROM {role}")
