"""teams, the rules that give them series, the split of hours, and pools of cost"""

from alembic import op

# ruff: noqa: S608 - every name in these statements is a constant of this file

revision = "202611301040"
down_revision = "202611301030"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
TABLES = ("team", "attribution_version", "attribution_hour", "cost_pool")

UP = (
    """CREATE TABLE billing.team (
      org_id      uuid NOT NULL REFERENCES billing.organisation,
      id          uuid NOT NULL,
      name        text NOT NULL,
      created_at  timestamptz NOT NULL,
      archived_at timestamptz,
      PRIMARY KEY (org_id, id))""",
    """CREATE UNIQUE INDEX team_name ON billing.team (org_id, lower(name))
      WHERE archived_at IS NULL""",
    """CREATE TABLE billing.attribution_version (
      org_id     uuid NOT NULL REFERENCES billing.organisation,
      n          integer NOT NULL CHECK (n > 0),
      rules      jsonb NOT NULL,
      faults     jsonb NOT NULL DEFAULT '[]',
      created_at timestamptz NOT NULL,
      created_by text NOT NULL,
      PRIMARY KEY (org_id, n))""",
    """CREATE TABLE billing.attribution_hour (
      org_id   uuid NOT NULL REFERENCES billing.organisation,
      hour     timestamptz NOT NULL,
      version  integer NOT NULL,
      revision bigint NOT NULL,
      shares   jsonb NOT NULL,
      PRIMARY KEY (org_id, hour))""",
    """CREATE TABLE billing.cost_pool (
      org_id     uuid NOT NULL REFERENCES billing.organisation,
      id         uuid NOT NULL,
      name       text NOT NULL,
      over       text NOT NULL CHECK (over IN ('teams', 'organisations')),
      starts_at  timestamptz NOT NULL,
      ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
      amount     bigint NOT NULL,
      currency   text NOT NULL,
      weights    jsonb NOT NULL,
      spread     boolean NOT NULL,
      created_at timestamptz NOT NULL,
      closed_at  timestamptz,
      shares     jsonb CHECK ((shares IS NULL) = (closed_at IS NULL)),
      PRIMARY KEY (org_id, id))""",
    """CREATE FUNCTION billing.closed_pool_stays() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP <> 'TRUNCATE' AND OLD.closed_at IS NULL THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
      END IF;
      RAISE EXCEPTION 'a closed pool never changes' USING ERRCODE = 'restrict_violation';
    END $$""",
    """CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON billing.cost_pool
      FOR EACH ROW EXECUTE FUNCTION billing.closed_pool_stays()""",
    """CREATE TRIGGER stays_whole BEFORE TRUNCATE ON billing.cost_pool
      FOR EACH STATEMENT EXECUTE FUNCTION billing.closed_pool_stays()""",
    *(
        statement
        for table in TABLES
        for statement in (
            f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY",
            f"""CREATE POLICY one_organisation ON billing.{table} TO {APP}
              USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""",
        )
    ),
    f"GRANT SELECT, INSERT, UPDATE (name, archived_at) ON billing.team TO {APP}",
    f"GRANT SELECT, INSERT, UPDATE (faults) ON billing.attribution_version TO {APP}",
    f"GRANT SELECT, INSERT, UPDATE ON billing.attribution_hour TO {APP}",
    f"GRANT SELECT, INSERT, DELETE, UPDATE (closed_at, shares) ON billing.cost_pool TO {APP}",
    # which organisations have rules, for dis to ask what is due
    f"""CREATE POLICY all_organisations ON billing.attribution_version FOR SELECT TO {DIRECTORY}
      USING (true)""",
    # usage of all organisations, over which the operator splits a cost
    f"""CREATE POLICY all_organisations ON billing.usage_hour FOR SELECT TO {DIRECTORY}
      USING (true)""",
    f"GRANT SELECT (org_id, meter, hour, quantity) ON billing.usage_hour TO {DIRECTORY}",
    f"GRANT SELECT (org_id, n) ON billing.attribution_version TO {DIRECTORY}",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute(
        f"REVOKE SELECT (org_id, meter, hour, quantity) ON billing.usage_hour FROM {DIRECTORY}"
    )
    op.execute("DROP POLICY all_organisations ON billing.usage_hour")
    op.execute(f"DROP TABLE {', '.join(f'billing.{table}' for table in TABLES)}")
    op.execute("DROP FUNCTION billing.closed_pool_stays()")
