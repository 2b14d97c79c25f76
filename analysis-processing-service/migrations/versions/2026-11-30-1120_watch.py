"""Standing watches, what they remember, the events they saw, and silences."""

from alembic import op

revision = "202611301120"
down_revision = "202611301115"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.watch (
  id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id   uuid        NOT NULL,
  name        text        NOT NULL,
  query       text        NOT NULL,
  step_ms     bigint      NOT NULL CHECK (step_ms > 0),
  params      jsonb       NOT NULL,
  enabled     boolean     NOT NULL,
  created_by  text        NOT NULL,
  created_at  timestamptz NOT NULL,
  live_ms     bigint,
  next_ms     bigint,
  alarm_ms    bigint,
  series      integer     NOT NULL DEFAULT 0,
  error       text,
  ran_at      timestamptz,
  due_at      timestamptz NOT NULL,
  attempts    integer     NOT NULL DEFAULT 0,
  claim       uuid,
  claimed_by  text,
  lease_until timestamptz,
  UNIQUE (tenant_id, name),
  CHECK ((claim IS NULL) = (lease_until IS NULL)));
COMMENT ON COLUMN analysis.watch.live_ms IS 'what ended before it was learned from: no event';
COMMENT ON COLUMN analysis.watch.next_ms IS 'the first column that was not judged; null: none was';
COMMENT ON COLUMN analysis.watch.alarm_ms IS 'columns before it are in the alarm series';
CREATE INDEX watch_due ON analysis.watch (due_at) WHERE enabled;
CREATE INDEX watch_claim ON analysis.watch (claim) WHERE claim IS NOT NULL;
CREATE TABLE analysis.watch_state (
  watch_id  uuid    NOT NULL REFERENCES analysis.watch (id) ON DELETE CASCADE,
  chunk_no  integer NOT NULL,
  tenant_id uuid    NOT NULL,
  payload   bytea   NOT NULL,
  PRIMARY KEY (watch_id, chunk_no));
CREATE TABLE analysis.watch_journal (
  watch_id  uuid   NOT NULL REFERENCES analysis.watch (id) ON DELETE CASCADE,
  first_ms  bigint NOT NULL,
  tenant_id uuid   NOT NULL,
  payload   bytea  NOT NULL,
  PRIMARY KEY (watch_id, first_ms));
ALTER TABLE analysis.watch_state ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE analysis.watch_journal ALTER COLUMN payload SET STORAGE EXTERNAL;
COMMENT ON TABLE analysis.watch_state IS
  'detectors by chunk of series as of a column; layout in analysis_processing/watch/memory.py';
COMMENT ON TABLE analysis.watch_journal IS 'columns judged since the state was stored';
CREATE TABLE analysis.event (
  id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id       uuid        NOT NULL,
  watch_id        uuid        NOT NULL,
  watch           text        NOT NULL,
  labels          jsonb       NOT NULL,
  kind            text        NOT NULL,
  former_kinds    text[]      NOT NULL DEFAULT '{}',
  start_ms        bigint      NOT NULL,
  end_ms          bigint,
  closed_ms       bigint,
  peak_ms         bigint      NOT NULL,
  size            double precision NOT NULL,
  value           double precision,
  expected        double precision,
  lower           double precision,
  upper           double precision,
  direction       text        NOT NULL,
  text            text        NOT NULL,
  because_of      jsonb,
  created_at      timestamptz NOT NULL,
  acknowledged_by text,
  acknowledged_at timestamptz,
  silenced_until  timestamptz);
COMMENT ON TABLE analysis.event IS 'an episode of one series; watch_id may name one that is gone';
COMMENT ON COLUMN analysis.event.former_kinds IS
  'what it was taken for earlier: a far sample that stays becomes a shift';
COMMENT ON COLUMN analysis.event.closed_ms IS 'the first column after those that showed its end';
CREATE UNIQUE INDEX event_once
  ON analysis.event (watch_id, start_ms, md5(labels::text));
CREATE INDEX event_of_tenant ON analysis.event (tenant_id, start_ms DESC, id DESC);
CREATE INDEX event_open ON analysis.event (tenant_id, watch_id) WHERE end_ms IS NULL;
CREATE INDEX event_of_watch ON analysis.event (watch_id, closed_ms);
CREATE INDEX event_age ON analysis.event (created_at);
CREATE TABLE analysis.silence (
  id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id  uuid        NOT NULL,
  matchers   jsonb       NOT NULL,
  until      timestamptz NOT NULL,
  comment    text        NOT NULL,
  created_by text        NOT NULL,
  created_at timestamptz NOT NULL);
CREATE INDEX silence_of_tenant ON analysis.silence (tenant_id, until);
CREATE TABLE analysis.watch_tenant (
  tenant_id uuid        PRIMARY KEY,
  look_at   timestamptz NOT NULL);
COMMENT ON TABLE analysis.watch_tenant IS 'when to look again for metrics with a default watch';
CREATE TABLE analysis.watch_default (
  tenant_id uuid NOT NULL,
  name      text NOT NULL,
  PRIMARY KEY (tenant_id, name));
COMMENT ON TABLE analysis.watch_default IS 'default watches made once; a deleted one stays away';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(
        "DROP TABLE analysis.watch_default, analysis.watch_tenant, analysis.silence,"
        " analysis.event, analysis.watch_journal, analysis.watch_state, analysis.watch"
    )
