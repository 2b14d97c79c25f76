"""Each environment name: type, default, unit, why. Built once, in an entry module."""

from pathlib import Path
from typing import Annotated

from pydantic import DirectoryPath, Field
from pydantic_settings import SettingsConfigDict

from analysis_processing.chassis.settings import ServiceSettings, bare


class Settings(ServiceSettings):
    """What the web process and the worker need; the names are those of docs/contracts.md §1."""

    model_config = SettingsConfigDict(env_prefix="APS_")
    service = "analysis-processing-service"
    code = "aps"

    ubs_url: Annotated[str, bare("UBS_URL")]
    das_url: Annotated[str, bare("DAS_URL")]
    dis_url: Annotated[str, bare("DIS_URL")]

    series_max: int = Field(10_000, ge=1, description="series one job may read")
    points_max: int = Field(110_000_000, ge=1, description="points one job may read, NaN included")
    block_bytes_max: int = Field(2**30, ge=1, description="memory for the points of one job")
    steps_max: int = Field(110_000, ge=100, description="steps of one job's range")
    unfinished_jobs_max: int = Field(100, ge=1, description="queued and running, each tenant")
    write_back_samples_max: int = Field(200_000, ge=0, description="scores one job writes back")
    job_retention_days: int = Field(30, ge=1, description="finished jobs and results are kept")

    own_analyses: DirectoryPath | None = Field(
        None, description="a folder of Python files whose run(frame, params) are analyses"
    )

    dask_scheduler: str | None = Field(
        None, description="tcp://host:8786: chunks are computed there, not in the job process"
    )
    worker_jobs: int = Field(1, ge=1, le=64, description="jobs one worker runs at once")
    worker_idle_s: float = Field(60.0, gt=0, description="an idle job process ends after this")
    worker_lease_s: float = Field(15.0, ge=1, description="a silent worker's job is free then")
    worker_poll_s: float = Field(2.0, gt=0, description="longest wait for work without NOTIFY")
    worker_alive_file: Path | None = Field(
        None, description="touched each round of the worker: a probe looks at its age"
    )
    attempts_max: int = Field(4, ge=1, description="runs of a job, lost ones included")
    job_timeout_s: float = Field(900.0, gt=0, description="one run's longest duration")

    watch_count_max: int = Field(100, ge=1, description="watches, each tenant")
    watch_series_max: int = Field(2_000, ge=0, description="series of one watch; 0: none runs")
    watch_remembered_max: int = Field(
        20_000, ge=0, description="series in the memory of one watch process, about 21 KB each"
    )
    watch_settle_s: float = Field(60.0, ge=0, description="a column is judged so long after it")
    watch_learn_s: float = Field(
        172_800.0, ge=3_600, description="what a new watch learns from, and the most it catches up"
    )
    watch_event_days: int = Field(90, ge=1, description="closed events are kept")
    watch_defaults: bool = Field(True, description="whether tenants get the default watches")
