"""Watches that a tenant gets by itself: for the metrics it has, once each; deleted, they stay away.

    ubs: organisations ─▶ watch_tenant ─▶ das: which of these metrics are there? ─▶ watches

Runs in the web process, which computes nothing: any replica looks for any tenant, one at a time.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import anyio.to_thread
import structlog
from sqlalchemy import Connection, Engine, text

from analysis_processing.analyses import resolved_params
from analysis_processing.chassis.identity.billing import Billing
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.clients.http import Door
from analysis_processing.errors import NameTaken, Refused, TooManyWatches
from analysis_processing.jobs.claims import TimeOf
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Labels
from analysis_processing.settings import Settings
from analysis_processing.watch import watches

LOOK_AGAIN = timedelta(minutes=5)
STEP_MS = 60_000
DEFAULTS_MAX = 25
PAGE = 500
BY = "by (job, service)"
NEXT_TENANT = text("""
UPDATE analysis.watch_tenant SET look_at = :later WHERE tenant_id = (
  SELECT tenant_id FROM analysis.watch_tenant WHERE look_at <= :now
  ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING tenant_id
""")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Default:
    """A watch `name` for each metric that `pattern` matches and that has the label, if any."""

    name: str
    pattern: str
    query: str
    label: str = ""


def error_share(label: str) -> Default:
    """5xx of all requests; 0 without requests, so that a quiet night is no gap."""
    bad = f'sum {BY} (rate({{metric}}{{{{{label}=~"5.."}}}}[5m]))'
    total = f"sum {BY} (rate({{metric}}[5m]))"
    query = f"({bad} or 0 * {total}) / clamp_min({total}, 1e-9)"
    return Default("errors: {metric}", ".+_requests_total", query, label)


DEFAULTS = (
    Default("targets up", "up", "up"),
    Default("requests: {metric}", ".+_requests_total", f"sum {BY} (rate({{metric}}[5m]))"),
    error_share("status"),
    error_share("code"),
    error_share("status_code"),
    Default(
        "latency: {metric}",
        "(.+_)?(http|grpc|rpc|server|request)_.*(duration|latency)_seconds_bucket",
        "histogram_quantile(0.95, sum by (job, service, le) (rate({metric}[5m])))",
    ),
    Default(
        "host: CPU busy",
        "node_cpu_seconds_total",
        '1 - avg by (instance) (rate({metric}{{mode="idle"}}[5m]))',
    ),
    Default(
        "host: memory available",
        "node_memory_MemAvailable_bytes",
        "{metric} / node_memory_MemTotal_bytes",
    ),
    Default(
        "host: disk available",
        "node_filesystem_avail_bytes",
        '{metric}{{fstype!~"tmpfs|overlay|squashfs"}} / node_filesystem_size_bytes',
    ),
    Default(
        "hub: samples stored",
        "cloudopshub_ingest_samples_total",
        "sum by (outcome) (rate({metric}[5m]))",
    ),
    Default(
        "hub: oldest job that waits", "cloudopshub_analysis_oldest_queued_seconds", "max({metric})"
    ),
)


def question(defaults: Sequence[Default] = DEFAULTS) -> str:
    """PromQL: the names of metrics that have a default watch, and the row of it as `row`."""
    return " or ".join(
        f'label_replace(group by (__name__) ({{__name__=~"{default.pattern}"'
        + (f',{default.label}!=""' if default.label else "")
        + f'}}), "row", "{row}", "", "")'
        for row, default in enumerate(defaults)
    )


def make(db: Connection, tenant: UUID, now_of: TimeOf, series: Iterable[Labels], most: int) -> int:
    """How many default watches are new: those for these series that the tenant never had."""
    rows = sorted((int(labels["row"]), labels["__name__"]) for labels in series)
    made, mine = 0, {"tenant": tenant}
    query = text("SELECT count(*) FROM analysis.watch_default WHERE tenant_id = :tenant")
    room = DEFAULTS_MAX - int(db.scalar(query, mine) or 0)
    note = text("INSERT INTO analysis.watch_default VALUES (:tenant, :name) ON CONFLICT DO NOTHING")
    for row, metric in rows[: max(room, 0) * 4]:
        name = DEFAULTS[row].name.format(metric=metric)
        if made == room or db.execute(note, {**mine, "name": name}).rowcount == 0:
            continue
        wanted = {
            "name": name,
            "query": DEFAULTS[row].query.format(metric=metric),
            "step_ms": STEP_MS,
            "params": resolved_params("anomaly", {}, STEP_MS),
            "enabled": True,
        }
        try:
            watches.make(
                db, tenant, wanted, created_by="service:aps", now=now_of(db), count_max=most
            )
            made += 1
        except (NameTaken, TooManyWatches) as error:
            log.info("default_watch_not_made", watch=name, reason=str(error))
    return made


@dataclass(frozen=True, slots=True)
class Seeder:
    """Looks for tenants and for their metrics. das: a tenant's door."""

    engine: Engine
    clock: TimeOf
    billing: Billing
    das: Callable[[UUID], Door]
    settings: Settings

    async def round(self) -> None:
        """Each tenant that is due was looked at; raises IdentityUnavailable"""
        after = None
        while True:
            params: dict[str, str] = {"after": str(after)} if after else {}
            page = await self.billing.ask("GET", "/internal/organisations", params=params)
            await anyio.to_thread.run_sync(self._note, page["tenants"])
            after = page["next"]
            if after is None:
                break
        while (tenant := await anyio.to_thread.run_sync(self._next)) is not None:
            try:
                series = await instant(self.das(tenant), question())
                made = await anyio.to_thread.run_sync(self._make, tenant, series)
                if made:
                    log.info("default_watches", tenant=str(tenant), made=made)
            except ServiceError as error:
                log.warning("metrics_unknown", tenant=str(tenant), reason=str(error))

    def _note(self, tenants: Sequence[str]) -> None:
        query = text("""
            INSERT INTO analysis.watch_tenant
            SELECT CAST(t AS uuid), :now FROM unnest(CAST(:tenants AS text[])) t
            ON CONFLICT DO NOTHING""")
        with transaction(self.engine) as db:
            db.execute(query, {"tenants": list(tenants), "now": self.clock(db)})

    def _next(self) -> UUID | None:
        with transaction(self.engine) as db:
            now = self.clock(db)
            tenant: UUID | None = db.scalar(NEXT_TENANT, {"now": now, "later": now + LOOK_AGAIN})
            return tenant

    def _make(self, tenant: UUID, series: Sequence[Labels]) -> int:
        with transaction(self.engine) as db:
            return make(db, tenant, self.clock, series, self.settings.watch_count_max)


async def instant(das: Door, query: str, at_ms: int | None = None) -> list[Labels]:
    """Labels of the series that the query has at that time or now; raises Refused, Unreachable."""
    form = {"query": query} | ({} if at_ms is None else {"time": f"{at_ms / 1000:.3f}"})
    body = await das.post("/api/v1/query", data=form)
    try:
        return [dict(series["metric"]) for series in json.loads(body)["data"]["result"]]
    except (ValueError, KeyError, TypeError) as exc:
        shown = body[:80].decode(errors="replace")
        raise Refused(service=das.service, detail=f"not a vector: {shown}") from exc
