"""Jobs (DIS_SCRAPE_CONFIG) in the words of Prometheus' scrape_config, and their targets: pure.

    text ── YAML, every scalar a text ──▶ models ──▶ jobs      BadJobs: file, path and why
    address, labels of its list ─▶ discovered labels ─▶ relabel_configs ─▶ Target, or Dropped

A key that is not known here is refused, with those that are.
Source: prometheus.io/docs/prometheus/latest/configuration/configuration; ADR 16; Prometheus
`scrape/target.go` (PopulateLabels).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import quote, urlencode
from uuid import UUID

from pydantic import Field, ValidationError, model_validator

from data_ingest.scrape.access import Access
from data_ingest.scrape.reading import Global, Reading
from data_ingest.scrape.relabel import Rule, relabel
from data_ingest.scrape.targets import Labels, Target, checked_url, key_of, shown_labels
from data_ingest.scrape.words import (
    BadJobs,
    Duration,
    Strict,
    duration_s,
    duration_text,
    explained,
    parsed_yaml,
)

TARGETS_MAX: Final = 10_000
"""Of one job: a list that another server makes has a bound."""
GUARDED_INTERVAL_MIN_S: Final = 1.0
"""Of a tenant's job: whoever writes its list cannot have the hub scrape all the time."""


class StaticConfig(Strict):
    """Addresses, and labels that all of them get; one entry of a discovered list is the same."""

    targets: tuple[str, ...]
    labels: dict[str, str] = Field(default_factory=dict)


class FileSd(Strict):
    """Files with such lists."""

    files: tuple[Annotated[str, Field(pattern=r"\.(json|ya?ml)$")], ...]
    refresh_interval: Duration = 300.0


class HttpSd(Access):
    """A URL that answers with such a list."""

    url: str
    refresh_interval: Duration = 60.0

    @model_validator(mode="after")
    def can_be_asked(self) -> Self:
        """The URL is one, without a credential in it."""
        if checked_url(self.url)[1].basic_auth:
            raise ValueError("a credential in url would be shown: give it in basic_auth")
        return self


class Job(Access, Reading):
    """One scrape_config; `tenant` is ours: the organisation that its samples belong to."""

    job_name: Annotated[str, Field(min_length=1)]
    tenant: UUID | None = None
    metrics_path: str = "/metrics"
    scheme: Literal["http", "https"] = "http"
    params: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    static_configs: tuple[StaticConfig, ...] = ()
    file_sd_configs: tuple[FileSd, ...] = ()
    http_sd_configs: tuple[HttpSd, ...] = ()
    relabel_configs: tuple[Rule, ...] = ()

    def completed(self, defaults: Global, body_bytes_max: int) -> "Job":
        """The same, with what holds where it says nothing; no page is over `body_bytes_max`."""
        missing = Global.model_fields.keys() - self.model_fields_set
        job = self.model_copy(update={name: getattr(defaults, name) for name in missing})
        timeout_s, size = job.scrape_timeout, job.body_size_limit or body_bytes_max
        if "scrape_timeout" in missing:
            timeout_s = min(timeout_s, job.scrape_interval)
        limits = {"scrape_timeout": timeout_s, "body_size_limit": min(size, body_bytes_max)}
        return job.model_copy(update=limits)


class JobsFile(Strict):
    """The whole file."""

    defaults: Annotated[Global, Field(alias="global")] = Global()
    scrape_configs: tuple[Job, ...] = ()


def read(text: str, file: Path, body_bytes_max: int) -> list[Job]:
    """The jobs in the text of `file`, each complete; BadJobs names the place and what is wrong."""
    try:
        parsed = JobsFile.model_validate(parsed_yaml(text, str(file)) or {}, context=file.parent)
    except ValidationError as exc:
        raise BadJobs(detail=f"{file}: {explained(exc)}") from None
    jobs = [job.completed(parsed.defaults, body_bytes_max) for job in parsed.scrape_configs]
    names = [job.job_name for job in jobs]
    for job in jobs:
        if names.count(job.job_name) > 1:
            raise BadJobs(detail=f"{file}: job_name {job.job_name!r} stands there twice")
        if job.scrape_timeout > job.scrape_interval:
            why = "scrape_timeout is over scrape_interval"
            raise BadJobs(detail=f"{file}: job {job.job_name!r}: {why}")
    return jobs


@dataclass(frozen=True, slots=True)
class AddressList:
    """Addresses with labels, and where they come from."""

    source: str
    config: StaticConfig
    about: Labels = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """What relabelling took away."""

    pool: str
    discovered: Labels
    tenant: UUID | None

    @property
    def key(self) -> str:
        """What tells it from the other targets of its organisation."""
        return key_of("dropped", self.pool, *map(str, self.discovered))

    def facts(self) -> dict[str, Any]:
        """As `GET /api/v1/targets` shows it."""
        return {
            "discoveredLabels": dict(shown_labels(self.discovered)),
            "scrapePool": self.pool,
        }


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the lists of a job come to; each fault names a list and an address in it."""

    targets: tuple[Target, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    faults: tuple[str, ...] = ()


def discover(job: Job, lists: Iterable[AddressList]) -> Discovered:
    """The targets of the lists; one bad address is a fault and takes no other with it."""
    targets: dict[Target, None] = {}
    dropped: dict[Dropped, None] = {}
    faults: list[str] = []
    access = job.part(Access)
    for addresses in lists:
        for number, address in enumerate(addresses.config.targets):
            if len(targets) + len(dropped) >= TARGETS_MAX:
                faults.append(f"{addresses.source}: more than {TARGETS_MAX} targets")
                break
            labels = discovered_labels(job, address, addresses)
            try:
                target = target_of(job, labels, access)
            except ValueError as exc:
                faults.append(f"{addresses.source}: target {number + 1}: {exc}")
                continue
            if target is None:
                dropped[Dropped(job.job_name, tuple(sorted(labels.items())), job.tenant)] = None
            else:
                targets[target] = None
    return Discovered(tuple(targets), tuple(dropped), tuple(faults))


def discovered_labels(job: Job, address: str, addresses: AddressList) -> dict[str, str]:
    """The labels of an address before relabelling; those of its list win over the job's."""
    return {
        "job": job.job_name,
        "__scheme__": job.scheme,
        "__metrics_path__": job.metrics_path,
        "__scrape_interval__": duration_text(job.scrape_interval),
        "__scrape_timeout__": duration_text(job.scrape_timeout),
        **{f"__param_{name}": values[0] for name, values in job.params.items() if values},
        **dict(addresses.about),
        **addresses.config.labels,
        "__address__": address,
    }


def target_of(job: Job, discovered: Mapping[str, str], access: Access) -> Target | None:
    """The target that these labels come to; None when a rule drops it.

    ValueError when they come to nothing that can be scraped; it repeats no credential.
    """
    json.dumps(discovered, ensure_ascii=False).encode()  # UnicodeError: a label that is no text
    labels = relabel(discovered, job.relabel_configs)
    if labels is None:
        return None
    address = labels.get("__address__", "")
    if not address or "/" in address or "@" in address:
        raise ValueError("its address is not host or host:port")
    interval_s, timeout_s = (
        duration_s(labels.get(name, "")) for name in ("__scrape_interval__", "__scrape_timeout__")
    )
    if job.tenant and interval_s < GUARDED_INTERVAL_MIN_S:
        raise ValueError(f"its scrape interval is under {GUARDED_INTERVAL_MIN_S:g}s")
    if timeout_s > interval_s:
        raise ValueError("its scrape timeout is over its interval")
    path = quote(labels.get("__metrics_path__", ""), safe="/:@!$&'()*+,;=~")
    query = urlencode(_params(job, labels), doseq=True)
    scheme = labels.get("__scheme__", "")
    url, _ = checked_url(f"{scheme}://{address}/{path.removeprefix('/')}?{query}")
    public = {name: value for name, value in labels.items() if not name.startswith("__")}
    public.setdefault("instance", address)
    return Target(
        job.job_name,
        url,
        tuple(sorted(public.items())),
        tuple(sorted(discovered.items())),
        job.part(Reading, scrape_interval=interval_s, scrape_timeout=timeout_s),
        access,
        job.tenant,
    )


def _params(job: Job, labels: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The query: the job's, the first value of each as relabelling left it."""
    params = {name: list(values) for name, values in job.params.items()}
    for label, value in labels.items():
        if label.startswith("__param_"):
            name = label.removeprefix("__param_")
            params[name] = [value, *params.get(name, [])[1:]]
    return sorted(params.items())
