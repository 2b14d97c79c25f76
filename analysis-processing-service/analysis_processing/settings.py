"""Each environment name: type, default, unit, why. Built once, in an entry module."""

import sys
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

T = TypeVar("T", bound="DatabaseSettings")


class DatabaseSettings(BaseSettings):
    """What a migration needs."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="libpq URL; it may carry a password")


class Settings(DatabaseSettings):
    """What the web process and the worker need; the names are those of docs/contracts.md §1."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    log_level: str = "info"
    ubs_url: str
    das_url: str
    dis_url: str
    service_token: SecretStr = Field(min_length=16, description="shared secret of /internal/*")

    aps_series_max: int = Field(500, ge=1, description="series one job may read")
    aps_points_max: int = Field(
        2_000_000, ge=1, description="points one job may read, NaN included"
    )
    aps_steps_max: int = Field(110_000, ge=100, description="steps of one job's range")
    aps_unfinished_jobs_max: int = Field(100, ge=1, description="queued and running, each tenant")
    aps_drain_s: float = Field(1.0, ge=0, description="/ready says 503 so long before a stop")
    aps_write_back_samples_max: int = Field(200_000, ge=0, description="scores one job writes back")
    aps_job_retention_days: int = Field(30, ge=1, description="finished jobs and results are kept")

    aps_worker_jobs: int = Field(1, ge=1, le=64, description="jobs one worker runs at once")
    aps_worker_idle_s: float = Field(60.0, gt=0, description="an idle job process ends after this")
    aps_worker_lease_s: float = Field(15.0, ge=1, description="a silent worker's job is free then")
    aps_worker_poll_s: float = Field(2.0, gt=0, description="longest wait for work without NOTIFY")
    aps_worker_alive_file: Path | None = Field(
        None, description="touched each round of the worker: a probe looks at its age"
    )
    aps_attempts_max: int = Field(4, ge=1, description="runs of a job, lost ones included")
    aps_job_timeout_s: float = Field(900.0, gt=0, description="one run's longest duration")


def load(kind: type[T]) -> T:
    """The settings from the environment; ends the process with one line naming what is wrong."""
    try:
        return kind()
    except ValidationError as exc:
        problems = "; ".join(
            f"{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            for error in exc.errors(include_input=False)
        )
        sys.exit(f"analysis-processing-service cannot start: {problems}")
