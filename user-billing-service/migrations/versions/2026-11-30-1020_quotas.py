"""quotas, what was told of them, what they cap, and anomalies of usage"""

from alembic import op

revision = "202611301020"
down_revision = "202611301010"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"

TABLES = (
    """CREATE TABLE billing.quota (
      org_id         uuid NOT NULL REFERENCES billing.organisation,
      meter          text NOT NULL,
      action         text NOT NULL CHECK (action IN ('warn', 'degrade', 'block')),
      limit_quantity numeric(38,9) NOT NULL CHECK (limit_quantity > 0),
      thresholds     integer[] NOT NULL,
      interval_ms    integer CHECK ((interval_ms IS NOT NULL) = (action = 'degrade')),
      checked_at     timestamptz NOT NULL,
      PRIMARY KEY (org_id, meter, action))""",
    "CREATE INDEX quota_due ON billing.quota (checked_at)",
    """CREATE TABLE billing.alert_fired (
      org_id    uuid NOT NULL,
      meter     text NOT NULL,
      action    text NOT NULL,
      period    timestamptz NOT NULL,
      threshold integer NOT NULL,
      fired_at  timestamptz NOT NULL,
      PRIMARY KEY (org_id, meter, action, period, threshold),
      FOREIGN KEY (org_id, meter, action) REFERENCES billing.quota ON DELETE CASCADE)""",
    """CREATE TABLE billing.cap (
      org_id          uuid PRIMARY KEY REFERENCES billing.organisation,
      min_interval_ms integer,
      blocked         text,
      since           timestamptz NOT NULL,
      CHECK (min_interval_ms IS NOT NULL OR blocked IS NOT NULL))""",
    """CREATE TABLE billing.notice (
      org_id  uuid NOT NULL REFERENCES billing.organisation,
      id      uuid NOT NULL,
      type    text NOT NULL,
      at      timestamptz NOT NULL,
      payload jsonb NOT NULL,
      PRIMARY KEY (org_id, id))""",
    "CREATE INDEX notice_age ON billing.notice (at)",
    """CREATE TABLE billing.anomaly (
      org_id        uuid NOT NULL REFERENCES billing.organisation,
      id            uuid NOT NULL,
      meter         text NOT NULL,
      kind          text NOT NULL,
      state         text NOT NULL CHECK (state IN ('open', 'ended', 'lasting', 'dismissed')),
      since         timestamptz NOT NULL,
      until         timestamptz,
      expected      numeric(38,9) NOT NULL,
      actual        numeric(38,9) NOT NULL,
      series_factor numeric(38,9),
      PRIMARY KEY (org_id, id),
      UNIQUE (org_id, meter, since),
      CHECK (state = 'dismissed' OR (state = 'open') = (until IS NULL)))""",
    "CREATE UNIQUE INDEX anomaly_running ON billing.anomaly (org_id, meter) WHERE until IS NULL",
)

APP_GRANTS = {
    "quota": "SELECT, INSERT, DELETE, UPDATE (limit_quantity, thresholds, interval_ms, checked_at)",
    "alert_fired": "SELECT, INSERT, DELETE",
    "cap": "SELECT, INSERT, DELETE, UPDATE (min_interval_ms, blocked, since)",
    "notice": "SELECT, INSERT",
    "anomaly": "SELECT, INSERT, UPDATE (kind, state, until, expected, actual, series_factor)",
}
DIRECTORY_GRANTS = {
    "quota": "SELECT (org_id, meter, action, checked_at), UPDATE (checked_at)",
    "cap": "SELECT",
    "notice": "SELECT (org_id, id, at), DELETE",
    "anomaly": "SELECT",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in APP_GRANTS:
        op.execute(f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY")
    for table, privileges in APP_GRANTS.items():
        op.execute(
            f"CREATE POLICY one_organisation ON billing.{table} TO {APP}"
            f" USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})"
        )
        op.execute(f"GRANT {privileges} ON billing.{table} TO {APP}")
    for table, privileges in DIRECTORY_GRANTS.items():
        op.execute(f"CREATE POLICY directory ON billing.{table} TO {DIRECTORY} USING (true)")
        op.execute(f"GRANT {privileges} ON billing.{table} TO {DIRECTORY}")


def downgrade() -> None:
    op.execute(
        "DROP TABLE billing.anomaly, billing.notice, billing.cap,"
        " billing.alert_fired, billing.quota"
    )
