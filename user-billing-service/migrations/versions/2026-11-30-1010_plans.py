"""versions of plans with their prices, and the subscriptions of organisations"""

from alembic import op

revision = "202611301010"
down_revision = "202611301000"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
TEAM = '[{"meter": "active_series", "model": "per_unit", "included": "10000", "unit": "0.0065"}]'
METERED = (
    '[{"meter": "samples_ingested", "model": "graduated", "included": "40000000", "tiers": ['
    '{"upto": "2000000000", "unit": "0.00000009"}, {"upto": "252000000000", "unit": "0.000000035"},'
    ' {"upto": null, "unit": "0.000000016"}]},'
    ' {"meter": "stored_gib_month", "model": "per_unit", "included": "10", "unit": "0.03"},'
    ' {"meter": "query_samples", "model": "per_unit", "included": "200000000000",'
    ' "unit": "0.0000000001"}]'
)

UP = (
    """CREATE TABLE billing.plan_version (
      plan         text NOT NULL REFERENCES billing.plan,
      n            integer NOT NULL CHECK (n > 0),
      currency     text NOT NULL,
      recurring    bigint NOT NULL CHECK (recurring >= 0),
      minimum      bigint NOT NULL CHECK (minimum >= 0),
      prices       jsonb NOT NULL,
      created_at   timestamptz NOT NULL,
      retired_at   timestamptz,
      PRIMARY KEY (plan, n))""",
    """CREATE FUNCTION billing.plan_version_stays() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'retired_at' = to_jsonb(OLD) - 'retired_at' THEN
        RETURN NEW;
      END IF;
      RAISE EXCEPTION 'a version of a plan never changes' USING ERRCODE = 'restrict_violation';
    END $$""",
    """CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON billing.plan_version
      FOR EACH ROW EXECUTE FUNCTION billing.plan_version_stays()""",
    """CREATE TRIGGER stays_whole BEFORE TRUNCATE ON billing.plan_version
      FOR EACH STATEMENT EXECUTE FUNCTION billing.plan_version_stays()""",
    """CREATE TABLE billing.subscription (
      org_id     uuid NOT NULL REFERENCES billing.organisation,
      id         uuid NOT NULL,
      plan       text NOT NULL,
      n          integer NOT NULL,
      starts_at  timestamptz NOT NULL,
      ends_at    timestamptz CHECK (ends_at > starts_at),
      PRIMARY KEY (org_id, id),
      FOREIGN KEY (plan, n) REFERENCES billing.plan_version)""",
    """CREATE UNIQUE INDEX subscription_open ON billing.subscription (org_id)
      WHERE ends_at IS NULL""",
    """CREATE TABLE billing.subscription_terms (
      org_id     uuid PRIMARY KEY REFERENCES billing.organisation,
      anchor_day integer NOT NULL CHECK (anchor_day BETWEEN 1 AND 31),
      zone       text NOT NULL)""",
    *(
        statement
        for table in ("subscription", "subscription_terms")
        for statement in (
            f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY",
            f"""CREATE POLICY one_organisation ON billing.{table} TO {APP}
              USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""",
            f"""CREATE POLICY all_organisations ON billing.{table} FOR SELECT TO {DIRECTORY}
              USING (true)""",
        )
    ),
    f"GRANT SELECT, INSERT, DELETE, UPDATE (ends_at) ON billing.subscription TO {APP}",
    f"GRANT SELECT, INSERT ON billing.subscription_terms TO {APP}",
    f"GRANT SELECT ON billing.subscription, billing.subscription_terms TO {DIRECTORY}",
    f"GRANT UPDATE (plan) ON billing.organisation TO {DIRECTORY}",
    f"GRANT SELECT ON billing.plan_version TO {APP}",
    f"GRANT SELECT, INSERT, UPDATE (retired_at) ON billing.plan_version TO {DIRECTORY}",
    f"GRANT INSERT, UPDATE ON billing.plan TO {DIRECTORY}",
    "INSERT INTO billing.plan (code, name) VALUES ('team', 'Team'), ('metered', 'Metered')",
    f"""INSERT INTO billing.plan_version (plan, n, currency, recurring, minimum, prices, created_at)
      VALUES ('team', 1, 'EUR', 1900, 0, '{TEAM}', '2026-11-30'),
             ('metered', 1, 'EUR', 0, 0, '{METERED}', '2026-11-30')""",  # noqa: S608 - constants
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"REVOKE INSERT, UPDATE ON billing.plan FROM {DIRECTORY}")
    op.execute(f"REVOKE UPDATE (plan) ON billing.organisation FROM {DIRECTORY}")
    op.execute("DROP TABLE billing.subscription_terms, billing.subscription, billing.plan_version")
    op.execute("DROP FUNCTION billing.plan_version_stays()")
    op.execute("UPDATE billing.organisation SET plan = 'showback'")
    op.execute("DELETE FROM billing.plan WHERE code <> 'showback'")
