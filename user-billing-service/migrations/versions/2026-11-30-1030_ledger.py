"""ledger, wallets and idempotency keys"""

from alembic import op

revision = "202611301030"
down_revision = "202611301000"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"

LEDGER = """
CREATE TABLE billing.ledger_tx (
  org_id uuid REFERENCES billing.organisation, id uuid, key text NOT NULL, kind text NOT NULL,
  reference text NOT NULL, at timestamptz NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  PRIMARY KEY (org_id, id), UNIQUE (org_id, key));

CREATE TABLE billing.ledger_entry (
  org_id uuid, tx_id uuid, n smallint, account text NOT NULL, currency text NOT NULL,
  amount bigint NOT NULL CHECK (amount <> 0),
  PRIMARY KEY (org_id, tx_id, n), FOREIGN KEY (org_id, tx_id) REFERENCES billing.ledger_tx);
CREATE INDEX ledger_entry_balance ON billing.ledger_entry (org_id, account, currency)
  INCLUDE (amount);

-- Fails where it sees no entries, so that row-level security never makes it pass.
CREATE FUNCTION billing.ledger_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  of_tx uuid := CASE TG_TABLE_NAME WHEN 'ledger_tx' THEN to_jsonb(NEW)->>'id'
                                   ELSE to_jsonb(NEW)->>'tx_id' END;
BEGIN
  IF NOT EXISTS (SELECT FROM billing.ledger_entry WHERE org_id = NEW.org_id AND tx_id = of_tx)
    OR EXISTS (SELECT FROM billing.ledger_entry WHERE org_id = NEW.org_id AND tx_id = of_tx
               GROUP BY currency HAVING sum(amount) <> 0) THEN
    RAISE EXCEPTION 'ledger transaction % does not sum to 0 in each currency', of_tx
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_tx_balances AFTER INSERT ON billing.ledger_tx
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.ledger_must_balance();
CREATE CONSTRAINT TRIGGER ledger_entry_balances AFTER INSERT ON billing.ledger_entry
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.ledger_must_balance();

CREATE FUNCTION billing.ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of % is refused: the ledger only grows', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
"""

ONLY_GROWS = """
CREATE TRIGGER {table}_is_final BEFORE UPDATE OR DELETE ON billing.{table}
  FOR EACH ROW EXECUTE FUNCTION billing.ledger_only_grows();
CREATE TRIGGER {table}_stays BEFORE TRUNCATE ON billing.{table}
  FOR EACH STATEMENT EXECUTE FUNCTION billing.ledger_only_grows();
"""

WALLETS = """
CREATE TABLE billing.wallet (
  org_id uuid REFERENCES billing.organisation, currency text, changed_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, currency));

CREATE TABLE billing.wallet_grant (
  org_id uuid, id uuid, currency text NOT NULL, amount bigint NOT NULL CHECK (amount > 0),
  remaining bigint NOT NULL CHECK (remaining BETWEEN 0 AND amount),
  source text NOT NULL CHECK (source IN ('paid', 'gift')), reason text NOT NULL,
  priority smallint NOT NULL, granted_at timestamptz NOT NULL, expires_at timestamptz,
  PRIMARY KEY (org_id, id), FOREIGN KEY (org_id, currency) REFERENCES billing.wallet);
CREATE INDEX wallet_grant_expiry ON billing.wallet_grant (expires_at) WHERE remaining > 0;

CREATE TABLE billing.wallet_draw (
  org_id uuid, key text, grant_id uuid, amount bigint NOT NULL CHECK (amount > 0),
  returned bigint NOT NULL CHECK (returned BETWEEN 0 AND amount),
  PRIMARY KEY (org_id, key, grant_id),
  FOREIGN KEY (org_id, grant_id) REFERENCES billing.wallet_grant);
"""

IDEMPOTENCY = """
CREATE TABLE billing.idempotency (
  org_id uuid REFERENCES billing.organisation, key text,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32), claimed_at timestamptz NOT NULL,
  status smallint, body_sealed bytea, PRIMARY KEY (org_id, key));
CREATE INDEX idempotency_age ON billing.idempotency (claimed_at);
"""

APP_GRANTS = {
    "ledger_tx": "SELECT, INSERT",
    "ledger_entry": "SELECT, INSERT",
    "wallet": "SELECT, INSERT, UPDATE (changed_at)",
    "wallet_grant": "SELECT, INSERT, UPDATE (remaining, expires_at)",
    "wallet_draw": "SELECT, INSERT, UPDATE (returned)",
    "idempotency": "SELECT, INSERT, UPDATE (digest, claimed_at, status, body_sealed), DELETE",
}
DIRECTORY_GRANTS = {
    "wallet_grant": "SELECT (org_id, currency, remaining, expires_at)",
    "idempotency": "SELECT (claimed_at), DELETE",
}


def upgrade() -> None:
    op.execute(LEDGER)
    for table in ("ledger_tx", "ledger_entry"):
        op.execute(ONLY_GROWS.format(table=table))
    op.execute(WALLETS)
    op.execute(IDEMPOTENCY)
    for table, privileges in APP_GRANTS.items():
        op.execute(f"ALTER TABLE billing.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE billing.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY one_organisation ON billing.{table} TO {APP}"
            f" USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})"
        )
        op.execute(f"GRANT {privileges} ON billing.{table} TO {APP}")
    for table, privileges in DIRECTORY_GRANTS.items():
        op.execute(f"CREATE POLICY directory ON billing.{table} TO {DIRECTORY} USING (true)")
        op.execute(f"GRANT {privileges} ON billing.{table} TO {DIRECTORY}")


def downgrade() -> None:
    op.execute(f"DROP TABLE billing.{', billing.'.join(reversed(APP_GRANTS))}")
    op.execute("DROP FUNCTION billing.ledger_must_balance(), billing.ledger_only_grows()")
