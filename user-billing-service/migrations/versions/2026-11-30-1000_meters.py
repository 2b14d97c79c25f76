"""meters of organisations, their usage events, distinct values and backfills"""

from alembic import op

revision = "202611301000"
down_revision = "202611292000"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
GRANTS = {
    "meter": "SELECT, INSERT, DELETE",
    "usage_event": "SELECT, INSERT, DELETE",
    "usage_value": "SELECT, INSERT",
    "usage_backfill": "SELECT, INSERT, UPDATE (ended_at, outcome)",
}
FINAL = ("meter", "usage_event")
"""Tables whose rows come and go as they are."""

UP = (
    """CREATE TABLE billing.meter (
      org_id      uuid NOT NULL REFERENCES billing.organisation,
      code        text NOT NULL,
      unit        text NOT NULL,
      aggregation text NOT NULL,
      rule        text NOT NULL,
      created_at  timestamptz NOT NULL,
      PRIMARY KEY (org_id, code))""",
    """CREATE TABLE billing.usage_event (
      org_id      uuid NOT NULL REFERENCES billing.organisation,
      source      text NOT NULL,
      id          text NOT NULL,
      meter       text NOT NULL,
      at          timestamptz NOT NULL,
      value       text NOT NULL,
      backfill    uuid,
      received_at timestamptz NOT NULL,
      PRIMARY KEY (org_id, source, id))""",
    "CREATE INDEX usage_event_at ON billing.usage_event (org_id, at)",
    """CREATE INDEX usage_event_backfill ON billing.usage_event (org_id, backfill)
      WHERE backfill IS NOT NULL""",
    """CREATE TABLE billing.usage_value (
      org_id uuid NOT NULL REFERENCES billing.organisation,
      meter  text NOT NULL,
      hour   timestamptz NOT NULL,
      value  text COLLATE "C" NOT NULL,
      PRIMARY KEY (org_id, meter, hour, value))""",
    """CREATE TABLE billing.usage_backfill (
      org_id     uuid NOT NULL REFERENCES billing.organisation,
      id         uuid NOT NULL,
      opened_at  timestamptz NOT NULL,
      opened_by  text NOT NULL,
      expires_at timestamptz NOT NULL,
      ended_at   timestamptz,
      outcome    text CHECK (outcome IN ('closed', 'reverted')),
      PRIMARY KEY (org_id, id),
      CHECK ((ended_at IS NULL) = (outcome IS NULL)))""",
    """ALTER TABLE billing.usage_hour
      ADD COLUMN readings bigint NOT NULL DEFAULT 1 CHECK (readings > 0),
      ADD COLUMN latest_at timestamptz""",
    f"GRANT UPDATE (readings, latest_at) ON billing.usage_hour TO {APP}",
    """CREATE FUNCTION billing.refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION '% of % is refused: its rows never change', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
    END $$""",
    "REVOKE ALL ON FUNCTION billing.refuse_edit() FROM PUBLIC",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)
    for table, privileges in GRANTS.items():
        op.execute(f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY")
        op.execute(f"""CREATE POLICY one_organisation ON billing.{table} TO {APP}
          USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""")
        op.execute(f"GRANT {privileges} ON billing.{table} TO {APP}")
    for table in FINAL:
        op.execute(f"""CREATE TRIGGER {table}_is_final BEFORE UPDATE ON billing.{table}
          FOR EACH ROW EXECUTE FUNCTION billing.refuse_edit()""")
        op.execute(f"""CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON billing.{table}
          FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_edit()""")


def downgrade() -> None:
    op.execute(
        "ALTER TABLE billing.usage_hour DROP COLUMN readings, DROP COLUMN latest_at;"
        " DROP TABLE billing.meter, billing.usage_event, billing.usage_value,"
        " billing.usage_backfill; DROP FUNCTION billing.refuse_edit()"
    )
