"""Each environment name the service reads: type, default, unit, and why.

Deployment names are bare (docs/contracts.md, section 1); the service's own carry `DIS_`.
"""

import itertools
import math
import socket
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from data_ingest.chassis.guard import parse_networks
from data_ingest.chassis.settings import ServiceSettings, bare, known_store

MIB = 1024 * 1024
RESOLUTIONS_MS = {"5m": 300_000, "1h": 3_600_000}


def host_and_port(text: str) -> tuple[str, int]:
    """Both of `host:port`, where the host of IPv6 stands in brackets; ValueError for other text."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isdecimal() and int(port) < 65_536):
        raise ValueError("must be host:port, as 0.0.0.0:2003")
    return host, int(port)


def bucket_bounds(text: str) -> list[float]:
    """The numbers of `0.1,1,10`; ValueError when they are over 100, not finite, or do not grow."""
    bounds = [float(number) for number in text.split(",")]
    grow = all(low < high for low, high in itertools.pairwise([-math.inf, *bounds, math.inf]))
    if not grow or len(bounds) > 100:
        raise ValueError("must be at most 100 numbers, each larger than the one before")
    return bounds


Address = Annotated[str, AfterValidator(lambda text: host_and_port(text) and text)]


class Settings(ServiceSettings):
    """Frozen; built once at start and passed down. Nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="DIS_")
    service = "data-ingest-service"
    code = "dis"

    object_store_url: Annotated[str, bare("OBJECT_STORE_URL"), AfterValidator(known_store)]
    """Where blocks live: `file:///folder` or `s3://bucket/prefix`."""
    ubs_url: Annotated[str, bare("UBS_URL")]
    # Only scraped; a service whose URL is not set is not scraped.
    das_url: Annotated[str | None, bare("DAS_URL")] = None
    dis_url: Annotated[str | None, bare("DIS_URL")] = None
    aps_url: Annotated[str | None, bare("APS_URL")] = None
    ui_url: Annotated[str | None, bare("UI_URL")] = None

    # One request. Generous, because a 413 is a 4xx and senders drop what it refused.
    body_bytes_max: Annotated[int, Field(gt=0)] = 32 * MIB
    # A body arrives whole in this time (senders give up after 30 s), and so many bytes a second in
    # each stretch of it.
    body_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    body_stretch_s: Annotated[float, Field(gt=0)] = 10.0
    body_bytes_per_s_min: Annotated[int, Field(gt=0)] = 1024
    decoded_bytes_max: Annotated[int, Field(gt=0)] = 64 * MIB
    request_samples_max: Annotated[int, Field(gt=0)] = 1_000_000
    future_ms_max: Annotated[int, Field(ge=0)] = 600_000
    # One series.
    labels_max: Annotated[int, Field(gt=0)] = 128
    label_name_bytes_max: Annotated[int, Field(gt=0)] = 1024
    label_value_bytes_max: Annotated[int, Field(gt=0)] = 8192

    # Pairs of Prometheus that send the same: labels of cluster and replica (none: no pairs). How
    # long the elected replica may be silent; a service asks every 5 s.
    ha_cluster_label: Annotated[str, Field(min_length=1)] = "cluster"
    ha_replica_label: str = "__replica__"
    ha_failover_s: Annotated[float, Field(ge=10)] = 20.0
    ha_clusters_max: Annotated[int, Field(gt=0)] = 100

    # Influx line protocol. The defaults name series as VictoriaMetrics and Telegraf's Prometheus
    # outputs do: `db` or `bucket`, where given, is the label `db`; the field `value` of `cpu` is
    # `cpu_value` (bare: `cpu`); without UTF-8 names, other characters than [a-zA-Z0-9_:] are `_`.
    influx_db_label: bool = True
    influx_bare_value: bool = False
    influx_utf8_names: bool = False

    # Imports: one upload, and how many are worked on at once by this process.
    import_bytes_max: Annotated[int, Field(gt=0)] = 1024 * MIB
    import_workers: Annotated[int, Field(gt=0)] = 2

    # All requests together: beyond these the answer is 503, so memory has a bound. Of the first, a
    # tenant's requests take at most half (api/body.py).
    inflight_bytes_max: Annotated[int, Field(gt=0)] = 256 * MIB
    queue_samples_max: Annotated[int, Field(gt=0)] = 2_000_000
    # One flush: batches near 50,000 samples cost least (ADR 0001).
    flush_samples_max: Annotated[int, Field(gt=0)] = 50_000
    flush_new_series_max: Annotated[int, Field(gt=0)] = 10_000
    commit_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    reconnect_delay_s_max: Annotated[float, Field(gt=0)] = 2.0
    series_cache_bytes_max: Annotated[int, Field(ge=64 * 1024)] = 128 * MIB
    series_active_window_s: Annotated[int, Field(ge=60)] = 3600

    # OTLP (ADR 0017). Names: one of Prometheus's translation strategies.
    otlp_names: Literal[
        "UnderscoreEscapingWithSuffixes",
        "UnderscoreEscapingWithoutSuffixes",
        "NoUTF8EscapingWithSuffixes",
        "NoTranslation",
    ] = "UnderscoreEscapingWithSuffixes"
    # Attributes of resources that become labels of every series: those without which two hosts or
    # two pods would be one series where the sender sets no service.instance.id.
    otlp_promote: str = (
        "host.name,container.name,cloud.region,cloud.availability_zone,deployment.environment.name,"
        "k8s.cluster.name,k8s.namespace.name,k8s.node.name,k8s.pod.name,k8s.container.name"
    )
    otlp_scope_labels: bool = True
    # `cumulative` adds deltas up in this process: right with one replica, or senders that stick.
    otlp_delta: Literal["reject", "cumulative"] = "reject"
    otlp_delta_series_max: Annotated[int, Field(gt=0)] = 200_000

    # Graphite and StatsD (ADR 23), off without an address. What arrives is the key's tenant's.
    graphite_listen: Address | None = None
    graphite_key: SecretStr | None = None
    statsd_listen: Address | None = None
    statsd_key: SecretStr | None = None
    statsd_flush_s: Annotated[float, Field(ge=1)] = 10.0
    # The label of every StatsD series: two processes must not write one series differently.
    statsd_receiver: str = Field(default_factory=socket.gethostname)
    statsd_series_max: Annotated[int, Field(gt=0)] = 100_000
    # A metric without lines for so long is not written any more.
    statsd_idle_s: Annotated[float, Field(gt=0)] = 300.0
    # Upper bounds of histograms' buckets; timers are in seconds.
    statsd_buckets: Annotated[str, AfterValidator(lambda text: bucket_bounds(text) and text)] = (
        "0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10"
    )
    # Of each listener: then a new connection is closed, or none is read on and datagrams dropped.
    listener_connections_max: Annotated[int, Field(gt=0)] = 256
    listener_bytes_max: Annotated[int, Field(gt=0)] = 16 * MIB

    # Background work.
    background: bool = True
    # `job=url,job=url`; empty = /metrics of the five services, as far as their URLs are set.
    scrape_targets: str = ""
    # A file of scrape jobs in Prometheus' words, besides; read again when it changes.
    scrape_config: str = ""
    # `network,network` that a tenant's job may reach besides public addresses.
    scrape_allow: Annotated[str, AfterValidator(lambda text: [parse_networks(text), text][1])] = ""
    scrape_interval_s: Annotated[float, Field(gt=0)] = 5.0
    scrape_timeout_s: Annotated[float, Field(gt=0)] = 4.0
    scrape_body_bytes_max: Annotated[int, Field(gt=0)] = 32 * MIB
    scrape_host: bool = True
    # `service=/path/of.pid,…`, whose processes are measured; empty = this one alone.
    host_processes: str = ""
    # A batch becomes part of a block once it is this old; das follows the younger ones by xid.
    compaction_delay_s: Annotated[float, Field(ge=0)] = 60.0
    compaction_interval_s: Annotated[float, Field(gt=0)] = 30.0
    # Samples one compaction run holds in memory (about 60 bytes each while it sorts; 64 bytes of
    # histograms weigh as one).
    compaction_samples_max: Annotated[int, Field(gt=0)] = 1_000_000
    block_bytes_max: Annotated[int, Field(gt=0)] = 512 * MIB
    # Buckets that days are rolled up to, which queries of long ranges read (ADR 0021); empty: none.
    rollups: Literal["", "1h", "5m,1h"] = "5m,1h"
    rollup_interval_s: Annotated[float, Field(gt=0)] = 300.0
    # How long samples are kept for tenants whose plan no write has shown yet; None: for ever.
    retention_days: Annotated[int | None, Field(gt=0)] = None
    partition_interval_s: Annotated[float, Field(gt=0)] = 300.0
    objects_sweep_interval_s: Annotated[float, Field(gt=0)] = 300.0

    @property
    def rollup_resolutions_ms(self) -> list[int]:
        """Lengths of the buckets to roll up to."""
        return [RESOLUTIONS_MS[name] for name in self.rollups.split(",") if name]

    @model_validator(mode="after")
    def _listeners_have_keys(self) -> Self:
        for listen, key in (("graphite_listen", "graphite_key"), ("statsd_listen", "statsd_key")):
            if getattr(self, listen) and getattr(self, key) is None:
                names = f"DIS_{listen.upper()} needs DIS_{key.upper()}"
                raise ValueError(f"{names}, the API key of the tenant whose samples arrive there")
        return self
