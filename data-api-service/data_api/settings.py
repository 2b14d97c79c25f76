"""Each environment name this service reads: type, default, unit and why."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, Json, SecretStr
from pydantic_settings import SettingsConfigDict

from data_api.chassis.guard import parse_networks
from data_api.chassis.settings import ServiceSettings, bare, hard_to_guess, known_store

MIB = 1024 * 1024


def _networks(text: str) -> str:
    parse_networks(text)
    return text


class Settings(ServiceSettings):
    """Deployment names are bare, our own carry `DAS_`. Secrets have no default."""

    model_config = SettingsConfigDict(env_prefix="DAS_")
    service = "data-api-service"
    code = "das"

    object_store_url: Annotated[str, bare("OBJECT_STORE_URL"), AfterValidator(known_store)]
    """Where blocks live: `file:///folder` or `s3://bucket/prefix`."""
    ubs_url: Annotated[str, bare("UBS_URL")]  # introspection, JWKS and revocations
    dis_url: Annotated[str | None, bare("DIS_URL")] = None
    """data-ingest-service, which knows the scrape targets; without it none are shown."""

    query_timeout_s: Annotated[float, Field(gt=0, le=120)] = 120.0
    """Longest a query may run. At most 120: dropped batches outlive a reader by 15 minutes only."""
    query_samples_max: Annotated[int, Field(gt=0)] = 50_000_000
    """Samples one query may load (16 bytes each), where the plan does not set a lower limit."""
    samples_held_max: Annotated[int, Field(gt=0)] = 70_000_000
    """Samples that all queries of this process hold at once; one tenant three quarters of it."""
    answer_bytes_max: Annotated[int, Field(gt=0)] = 128 * MIB
    """Bytes of one answer; an export has no such bound, because it is never whole in memory."""
    query_concurrency: Annotated[int, Field(gt=0)] = 20
    """Queries of one tenant in flight, where the plan does not set a lower limit."""
    query_queue: Annotated[int, Field(ge=0)] = 100
    """Queries of one tenant that may wait for others of it; more are refused at once."""
    query_threads: Annotated[int, Field(gt=0)] = min(4, len(os.sched_getaffinity(0)) + 1)
    """Queries evaluated at once by this process, of one tenant all but one: it can use every core.
    More would only wait for each other's Python, and the event loop for theirs."""
    query_workers: Annotated[int, Field(ge=0)] = min(4, len(os.sched_getaffinity(0)) + 1)
    """Processes for heavy queries, of one tenant all but one, started when there are some; 0:
    heavy queries are computed in the service's own process, and neighbours feel them."""
    worker_bytes_max: Annotated[int, Field(gt=0)] = 2048 * MIB
    """Memory that one of them may use beyond what it starts with; its query is refused there."""
    queue_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest a query waits for a slot of its tenant, then for a thread, before it is refused."""
    lookback_s: Annotated[float, Field(gt=0)] = 300.0
    """How old the newest sample may be to count as current."""
    head_bytes_max: Annotated[int, Field(gt=0)] = 96 * MIB
    """Decoded newest samples kept, over all tenants (24 bytes a sample)."""
    block_cache_bytes_max: Annotated[int, Field(gt=0)] = 384 * MIB
    """Decoded block chunks kept, over all tenants (16 bytes a sample)."""
    pool_connections: Annotated[int, Field(gt=1)] = 8
    """Connections to Postgres; a query holds one while it lists and fetches, never to evaluate."""

    rules_groups_max: Annotated[int, Field(gt=0)] = 400
    """Groups of rules of one tenant."""
    rules_per_group_max: Annotated[int, Field(gt=0)] = 200
    """Rules of one group."""
    rules_bytes_max: Annotated[int, Field(gt=0)] = 4 * MIB
    """YAML of all rules of one tenant."""
    rules_interval_min_s: Annotated[float, Field(gt=0)] = 5.0
    """The shortest interval of a group."""
    rules_interval_s: Annotated[float, Field(gt=0)] = 60.0
    """The interval of a group that says none."""

    secret_key: Annotated[SecretStr | None, AfterValidator(hard_to_guess)] = None
    """What configurations of notifications are encrypted with; by default SERVICE_TOKEN."""
    notify_allow: Annotated[str, AfterValidator(_networks)] = ""
    """Networks beside public addresses that notifications may reach: `10.0.0.0/8,fd00::/8`."""
    ui_public_url: Annotated[str, bare("UI_PUBLIC_URL")] = "http://localhost:8080"
    """The dashboard as people reach it: alerts link to their expression there."""

    def sealing_secret(self) -> str:
        """The secret that configurations are encrypted with."""
        return (self.secret_key or self.service_token).get_secret_value()


class RulesSettings(Settings):
    """What `python -m data_api.rules` reads besides; it keeps half of the newest samples that the
    service does, and a quarter of decoded blocks.
    """

    dis_url: Annotated[str, bare("DIS_URL")]
    """Where results are written."""
    rules_concurrency: Annotated[int, Field(gt=0)] = 4
    """Groups that one process evaluates at once."""
    rules_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest evaluation of a group, writing included; never longer than its interval."""
    rules_series_max: Annotated[int, Field(gt=0)] = 10_000
    """Series or alerts of one rule, whatever the limit of its group."""
    rules_tenant_series_max: Annotated[int, Field(gt=0)] = 100_000
    """Series and alerts of all rules of a tenant that one process evaluates, which it remembers."""
    external_labels: Json[dict[str, str]] = Field("{}", validate_default=True)
    """What `$externalLabels` is in texts of alerts, as JSON: `{"cluster": "eu"}`."""
    rules_folder: Path | None = None
    """The operator's rule files: `*.yml` of the home organisation, `<tenant>/*.yml` of others."""
    rules_alive_file: Path | None = None
    """Touched each round: a probe that has no port to ask looks at its age."""
