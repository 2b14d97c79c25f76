"""The targets of a job: its lists of addresses, relabelled: pure.

    address, labels of its list ─▶ discovered labels ─▶ relabel_configs ─▶ Target, or Dropped

Source: Prometheus `scrape/target.go` (PopulateLabels).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

from data_ingest.scrape.access import Access
from data_ingest.scrape.jobs import Job, JobsFile, StaticConfig, duration_s
from data_ingest.scrape.relabel import Rule, relabel
from data_ingest.scrape.series import Keeping
from data_ingest.scrape.targets import (
    Labels,
    Reading,
    Target,
    checked_url,
    duration_text,
    key_of,
    shown_labels,
)

TARGETS_MAX: Final = 10_000
"""Of one job: a list that another server makes has a bound."""
GUARDED_INTERVAL_MIN_S: Final = 1.0
"""Of a tenant's job: whoever writes its list cannot have the hub scrape all the time."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job with all that its file and our settings say of it; files are relative to `folder`."""

    job: Job
    interval_s: float
    timeout_s: float
    body_bytes_max: int
    folder: Path

    @property
    def is_guarded(self) -> bool:
        """Whether it may only go where a tenant may."""
        return self.job.tenant is not None

    @property
    def access(self) -> Access:
        """How its targets are reached."""
        return self.job.access(self.folder, is_guarded=self.is_guarded)


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


def plans(file: JobsFile, folder: Path, body_bytes_max: int) -> list[JobPlan]:
    """The jobs of the file; no page is larger than `body_bytes_max`, whatever a job says."""
    return [
        JobPlan(
            job,
            file.interval_s(job),
            file.timeout_s(job),
            min(job.body_size_limit or body_bytes_max, body_bytes_max),
            folder,
        )
        for job in file.scrape_configs
    ]


def discover(plan: JobPlan, lists: Iterable[AddressList]) -> Discovered:
    """The targets of the lists; one bad address is a fault and takes no other with it."""
    targets: dict[Target, None] = {}
    dropped: dict[Dropped, None] = {}
    faults: list[str] = []
    access = plan.access
    rules = tuple(config.rule() for config in plan.job.relabel_configs)
    keeping = Keeping(
        plan.job.honor_labels,
        tuple(config.rule() for config in plan.job.metric_relabel_configs),
        plan.job.sample_limit,
        plan.job.label_limit,
    )
    for addresses in lists:
        for number, address in enumerate(addresses.config.targets):
            if len(targets) + len(dropped) >= TARGETS_MAX:
                faults.append(f"{addresses.source}: more than {TARGETS_MAX} targets")
                break
            discovered = discovered_labels(plan, address, addresses)
            try:
                target = target_of(plan, discovered, rules, access, keeping)
            except ValueError as exc:
                faults.append(f"{addresses.source}: target {number + 1}: {exc}")
                continue
            if target is None:
                pairs = tuple(sorted(discovered.items()))
                dropped[Dropped(plan.job.job_name, pairs, plan.job.tenant)] = None
            else:
                targets[target] = None
    return Discovered(tuple(targets), tuple(dropped), tuple(faults))


def discovered_labels(plan: JobPlan, address: str, addresses: AddressList) -> dict[str, str]:
    """The labels of an address before relabelling; those of its list win over the job's."""
    job = plan.job
    return {
        "job": job.job_name,
        "__scheme__": job.scheme,
        "__metrics_path__": job.metrics_path,
        "__scrape_interval__": duration_text(plan.interval_s),
        "__scrape_timeout__": duration_text(plan.timeout_s),
        **{f"__param_{name}": values[0] for name, values in job.params.items() if values},
        **dict(addresses.about),
        **addresses.config.labels,
        "__address__": address,
    }


def target_of(
    plan: JobPlan,
    discovered: Mapping[str, str],
    rules: tuple[Rule, ...],
    access: Access,
    keeping: Keeping,
) -> Target | None:
    """The target that these labels come to; None when a rule drops it.

    ValueError when they come to nothing that can be scraped; it repeats no credential.
    """
    json.dumps(discovered, ensure_ascii=False).encode()  # UnicodeError: a label that is no text
    labels = relabel(discovered, rules)
    if labels is None:
        return None
    address = labels.get("__address__", "")
    if not address or "/" in address or "@" in address:
        raise ValueError("its address is not host or host:port")
    interval_s, timeout_s = (
        duration_s(labels.get(name, "")) for name in ("__scrape_interval__", "__scrape_timeout__")
    )
    if plan.is_guarded and interval_s < GUARDED_INTERVAL_MIN_S:
        raise ValueError(f"its scrape interval is under {GUARDED_INTERVAL_MIN_S:g}s")
    if timeout_s > interval_s:
        raise ValueError("its scrape timeout is over its interval")
    path = quote(labels.get("__metrics_path__", ""), safe="/:@!$&'()*+,;=~")
    query = urlencode(_params(plan.job, labels), doseq=True)
    scheme = labels.get("__scheme__", "")
    url, _ = checked_url(f"{scheme}://{address}/{path.removeprefix('/')}?{query}")
    public = {name: value for name, value in labels.items() if not name.startswith("__")}
    public.setdefault("instance", address)
    return Target(
        plan.job.job_name,
        url,
        tuple(sorted(public.items())),
        tuple(sorted(discovered.items())),
        Reading(interval_s, timeout_s, plan.body_bytes_max, plan.job.honor_timestamps, keeping),
        access,
        plan.job.tenant,
    )


def _params(job: Job, labels: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The query: the job's, the first value of each as relabelling left it."""
    params = {name: list(values) for name, values in job.params.items()}
    for label, value in labels.items():
        if label.startswith("__param_"):
            name = label.removeprefix("__param_")
            params[name] = [value, *params.get(name, [])[1:]]
    return sorted(params.items())
