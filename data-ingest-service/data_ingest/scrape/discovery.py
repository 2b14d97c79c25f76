"""The targets of a job: its lists of addresses, relabelled: pure.

    address, labels of its list ─▶ discovered labels ─▶ relabel_configs ─▶ Target, or Dropped

Source: Prometheus `scrape/target.go` (PopulateLabels).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

from data_ingest.scrape.access import Access
from data_ingest.scrape.jobs import Job, StaticConfig
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.relabel import relabel
from data_ingest.scrape.targets import Labels, Target, checked_url, key_of, shown_labels
from data_ingest.scrape.words import duration_s, duration_text

TARGETS_MAX: Final = 10_000
"""Of one job: a list that another server makes has a bound."""
GUARDED_INTERVAL_MIN_S: Final = 1.0
"""Of a tenant's job: whoever writes its list cannot have the hub scrape all the time."""


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
