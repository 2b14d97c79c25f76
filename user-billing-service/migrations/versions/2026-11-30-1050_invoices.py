"""seller, customers, billing periods and the documents that never change"""

from alembic import op

revision = "202611301050"
down_revision = "202611301040"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
DOCUMENT = """series text{null}, number bigint{null}, issued_on date{null},
      payload text{null}, sha256 bytea{null}"""

TABLES = (
    """CREATE TABLE billing.seller (
      "only"        boolean PRIMARY KEY CHECK ("only"),
      legal_name    text NOT NULL,
      address       text NOT NULL,
      country       text NOT NULL,
      tax_number    text NOT NULL,
      vat_id        text NOT NULL,
      bank_text     text NOT NULL,
      currency      text NOT NULL,
      series        text NOT NULL,
      credit_series text NOT NULL CHECK (credit_series <> series),
      payment_days  integer NOT NULL CHECK (payment_days BETWEEN 0 AND 365),
      automatic     boolean NOT NULL,
      confirmed_at  timestamptz)""",
    """CREATE TABLE billing.tax_rate (
      country    text NOT NULL,
      valid_from date NOT NULL,
      valid_to   date CHECK (valid_to >= valid_from),
      name       text NOT NULL,
      percent    numeric(6,3) NOT NULL CHECK (percent BETWEEN 0 AND 100),
      PRIMARY KEY (country, valid_from))""",
    """CREATE TABLE billing.number_counter (
      series  text PRIMARY KEY,
      last    bigint NOT NULL CHECK (last > 0),
      last_on date NOT NULL)""",
    """CREATE TABLE billing.customer (
      org_id     uuid PRIMARY KEY REFERENCES billing.organisation,
      legal_name text NOT NULL,
      address    text NOT NULL,
      country    text NOT NULL,
      vat_id     text NOT NULL,
      email      text NOT NULL,
      exempt     text NOT NULL)""",
    """CREATE TABLE billing.billing_period (
      org_id     uuid NOT NULL REFERENCES billing.organisation,
      start      timestamptz NOT NULL,
      "end"      timestamptz NOT NULL CHECK ("end" > start),
      state      text NOT NULL CHECK (state IN ('open', 'grace', 'closed')),
      closed_at  timestamptz CHECK ((closed_at IS NULL) = (state <> 'closed')),
      closed_by  text CHECK (closed_by IN ('complete', 'grace')),
      missing    text[] NOT NULL,
      drafted    boolean NOT NULL,
      invoice_id uuid,
      PRIMARY KEY (org_id, start))""",
    f"""CREATE TABLE billing.invoice (
      org_id       uuid NOT NULL REFERENCES billing.organisation,
      id           uuid NOT NULL,
      period_start timestamptz NOT NULL,
      period_end   timestamptz NOT NULL,
      state        text NOT NULL CHECK (state IN ('draft', 'approved', 'final')),
      currency     text NOT NULL,
      input_hash   text NOT NULL,
      subtotal     bigint NOT NULL,
      tax          bigint NOT NULL,
      credits      bigint NOT NULL CHECK (credits BETWEEN 0 AND subtotal + tax),
      total        bigint NOT NULL CHECK (total >= 0 AND total = subtotal + tax - credits),
      created_at   timestamptz NOT NULL,
      {DOCUMENT.format(null="")},
      PRIMARY KEY (org_id, id),
      UNIQUE (series, number),
      CHECK ((state = 'final') = (number IS NOT NULL)),
      CHECK (num_nulls(series, number, issued_on, payload, sha256) IN (0, 5)),
      FOREIGN KEY (org_id, period_start) REFERENCES billing.billing_period (org_id, start))""",
    """CREATE TABLE billing.invoice_line (
      org_id      uuid NOT NULL,
      invoice_id  uuid NOT NULL,
      n           integer NOT NULL CHECK (n > 0),
      kind        text NOT NULL,
      description text NOT NULL,
      meter       text,
      start       timestamptz NOT NULL,
      "end"       timestamptz NOT NULL,
      quantity    numeric(38,9) NOT NULL,
      unit        text NOT NULL,
      amount      bigint NOT NULL,
      derivation  jsonb NOT NULL,
      tax_name    text NOT NULL,
      tax_percent numeric(6,3) NOT NULL,
      tax_note    text NOT NULL,
      of_period   timestamptz NOT NULL,
      charges     text NOT NULL,
      adjusts     uuid CHECK ((adjusts IS NULL) = (kind <> 'adjustment')),
      PRIMARY KEY (org_id, invoice_id, n),
      FOREIGN KEY (org_id, invoice_id) REFERENCES billing.invoice (org_id, id))""",
    """CREATE INDEX invoice_line_of_period ON billing.invoice_line (org_id, of_period)""",
    """CREATE TABLE billing.invoice_hours (
      org_id     uuid NOT NULL,
      invoice_id uuid NOT NULL,
      start      timestamptz NOT NULL,
      "end"      timestamptz NOT NULL,
      meter      text NOT NULL,
      digest     text NOT NULL,
      hours      bytea NOT NULL,
      PRIMARY KEY (org_id, invoice_id, start, "end", meter),
      FOREIGN KEY (org_id, invoice_id) REFERENCES billing.invoice (org_id, id))""",
    f"""CREATE TABLE billing.credit_note (
      org_id     uuid NOT NULL,
      id         uuid NOT NULL,
      invoice_id uuid NOT NULL,
      key        text NOT NULL,
      voids      boolean NOT NULL,
      reason     text NOT NULL,
      subtotal   bigint NOT NULL,
      tax        bigint NOT NULL,
      total      bigint NOT NULL CHECK (total = subtotal + tax),
      to_wallet  bigint NOT NULL CHECK (to_wallet BETWEEN 0 AND total),
      created_at timestamptz NOT NULL,
      {DOCUMENT.format(null=" NOT NULL")},
      PRIMARY KEY (org_id, id),
      UNIQUE (series, number),
      UNIQUE (org_id, invoice_id, key),
      FOREIGN KEY (org_id, invoice_id) REFERENCES billing.invoice (org_id, id))""",
    """CREATE TABLE billing.credit_note_line (
      org_id         uuid NOT NULL,
      credit_note_id uuid NOT NULL,
      n              integer NOT NULL,
      invoice_id     uuid NOT NULL,
      amount         bigint NOT NULL,
      PRIMARY KEY (org_id, credit_note_id, n),
      FOREIGN KEY (org_id, credit_note_id) REFERENCES billing.credit_note (org_id, id),
      FOREIGN KEY (org_id, invoice_id, n)
        REFERENCES billing.invoice_line (org_id, invoice_id, n))""",
    """CREATE INDEX credit_note_line_of_invoice
      ON billing.credit_note_line (org_id, invoice_id)""",
    """CREATE TABLE billing.payment (
      org_id      uuid NOT NULL,
      invoice_id  uuid NOT NULL,
      reference   text NOT NULL,
      amount      bigint NOT NULL CHECK (amount <> 0),
      paid_on     date NOT NULL,
      recorded_at timestamptz NOT NULL,
      PRIMARY KEY (org_id, invoice_id, reference),
      FOREIGN KEY (org_id, invoice_id) REFERENCES billing.invoice (org_id, id))""",
    """CREATE TABLE billing.document_pdf (
      org_id      uuid NOT NULL REFERENCES billing.organisation,
      document_id uuid NOT NULL,
      sha256      bytea NOT NULL,
      body        bytea NOT NULL,
      PRIMARY KEY (org_id, document_id))""",
    # A row goes only with its draft: whoever sees no draft (row-level security) is refused too.
    """CREATE FUNCTION billing.refuse_document_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'a document with a number never changes (%)', TG_TABLE_NAME;
    END $$""",
    """CREATE FUNCTION billing.refuse_change_of_final() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      of_line record;
    BEGIN
      FOR of_line IN SELECT (r.j ->> 'org_id')::uuid AS org, (r.j ->> 'invoice_id')::uuid AS id
        FROM (VALUES (to_jsonb(OLD)), (to_jsonb(NEW))) AS r(j) WHERE r.j <> 'null'::jsonb
      LOOP
        PERFORM 1 FROM billing.invoice i
          WHERE i.org_id = of_line.org AND i.id = of_line.id AND i.state <> 'final';
        IF NOT FOUND THEN
          RAISE EXCEPTION 'a document with a number never changes (%)', TG_TABLE_NAME;
        END IF;
      END LOOP;
      RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END $$""",
    """CREATE TRIGGER invoice_only_drafts_change BEFORE UPDATE OR DELETE ON billing.invoice
      FOR EACH ROW WHEN (OLD.state = 'final')
      EXECUTE FUNCTION billing.refuse_document_change()""",
)  # fmt: skip

OF_DRAFTS = ("invoice_line", "invoice_hours")
ONLY_ADDED = ("credit_note", "credit_note_line", "payment", "document_pdf")
TENANT_TABLES = ("customer", "billing_period", "invoice", *OF_DRAFTS, *ONLY_ADDED)
APP_GRANTS = {
    "customer": "SELECT, INSERT, UPDATE (legal_name, address, country, vat_id, email, exempt)",
    "billing_period": "SELECT, INSERT,"
    ' UPDATE ("end", state, closed_at, closed_by, missing, drafted, invoice_id)',
    "invoice": "SELECT, INSERT, UPDATE (state, currency, input_hash, subtotal, tax, credits, total,"
    " series, number, issued_on, payload, sha256)",
    "invoice_line": "SELECT, INSERT, DELETE",
    "invoice_hours": "SELECT, INSERT, DELETE",
    "seller": "SELECT",
    "tax_rate": "SELECT",
    **dict.fromkeys(ONLY_ADDED, "SELECT, INSERT"),
}
DIRECTORY_GRANTS = {
    "seller": "SELECT, INSERT, UPDATE",
    "tax_rate": "SELECT, INSERT, UPDATE (valid_to, name, percent)",
    "number_counter": "SELECT, INSERT, UPDATE (last, last_on)",
    "invoice": "SELECT (org_id, id, period_start, period_end, state, currency, subtotal, tax,"
    " credits, total, created_at, series, number, issued_on)",
    "billing_period": "SELECT",
}


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for name in OF_DRAFTS:
        op.execute(
            f"CREATE TRIGGER {name}_stays BEFORE INSERT OR UPDATE OR DELETE ON billing.{name}"
            " FOR EACH ROW EXECUTE FUNCTION billing.refuse_change_of_final()"
        )
    for name in ONLY_ADDED:
        op.execute(
            f"CREATE TRIGGER {name}_stays BEFORE UPDATE OR DELETE ON billing.{name}"
            " FOR EACH ROW EXECUTE FUNCTION billing.refuse_document_change()"
        )
    for name in ("invoice", *OF_DRAFTS, *ONLY_ADDED):
        op.execute(
            f"CREATE TRIGGER {name}_is_never_emptied BEFORE TRUNCATE ON billing.{name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_document_change()"
        )
        op.execute(f"REVOKE TRUNCATE ON billing.{name} FROM PUBLIC, {APP}, {DIRECTORY}")
    for name in TENANT_TABLES:
        op.execute(f"ALTER TABLE billing.{name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE billing.{name} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY one_organisation ON billing.{name} TO {APP}"
            f" USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})"
        )
    for name in ("invoice", "billing_period"):
        op.execute(f"CREATE POLICY all_organisations ON billing.{name} TO {DIRECTORY} USING (true)")
    for role, grants in ((APP, APP_GRANTS), (DIRECTORY, DIRECTORY_GRANTS)):
        for name, rights in grants.items():
            op.execute(f"GRANT {rights} ON billing.{name} TO {role}")


def downgrade() -> None:
    names = ("seller", "tax_rate", "number_counter", *reversed(TENANT_TABLES))
    op.execute(f"DROP TABLE {', '.join(f'billing.{name}' for name in names)}")
    op.execute("DROP FUNCTION billing.refuse_document_change, billing.refuse_change_of_final")
