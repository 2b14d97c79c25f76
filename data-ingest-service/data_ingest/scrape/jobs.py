"""The file of scrape jobs (DIS_SCRAPE_CONFIG), in the words of Prometheus' scrape_config.

    text ── YAML, every scalar a text ──▶ models ──▶ jobs      BadJobs: file, path and why

A key that is not known here is refused, with those that are.
Source: prometheus.io/docs/prometheus/latest/configuration/configuration; ADR 16.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, ValidationError, model_validator

from data_ingest.scrape.access import Access
from data_ingest.scrape.reading import Global, Reading
from data_ingest.scrape.relabel import Rule
from data_ingest.scrape.targets import checked_url
from data_ingest.scrape.words import BadJobs, Duration, Strict, explained, parsed_yaml


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
