"""Each environment name the service reads: type, default, unit, and why.

Deployment names are bare (docs/contracts.md, section 1); the service's own carry `DIS_`.
"""

from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


def _name(name: str) -> AliasChoices:
    return AliasChoices(name)


class Settings(BaseSettings):
    """Frozen; built once at start and passed down. Nothing else reads the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix="DIS_", populate_by_name=True
    )

    host: Annotated[str, Field(validation_alias=_name("HOST"))] = "127.0.0.1"
    port: Annotated[int, Field(validation_alias=_name("PORT"), ge=0, le=65535)] = 8000
    log_level: Annotated[str, Field(validation_alias=_name("LOG_LEVEL"))] = "info"
    database_url: Annotated[SecretStr, Field(validation_alias=_name("DATABASE_URL"))]
    object_store_url: Annotated[str, Field(validation_alias=_name("OBJECT_STORE_URL"))]
    service_token: Annotated[SecretStr, Field(validation_alias=_name("SERVICE_TOKEN"))]
    ubs_url: Annotated[str, Field(validation_alias=_name("UBS_URL"))]
    # Only scraped; a service whose URL is not set is not scraped.
    das_url: Annotated[str | None, Field(validation_alias=_name("DAS_URL"))] = None
    dis_url: Annotated[str | None, Field(validation_alias=_name("DIS_URL"))] = None
    aps_url: Annotated[str | None, Field(validation_alias=_name("APS_URL"))] = None
    ui_url: Annotated[str | None, Field(validation_alias=_name("UI_URL"))] = None

    # One request. Generous, because a 413 is a 4xx and senders drop what it refused.
    body_bytes_max: Annotated[int, Field(gt=0)] = 32 * MIB
    decoded_bytes_max: Annotated[int, Field(gt=0)] = 64 * MIB
    request_samples_max: Annotated[int, Field(gt=0)] = 1_000_000
    future_ms_max: Annotated[int, Field(ge=0)] = 600_000
    # One series.
    labels_max: Annotated[int, Field(gt=0)] = 128
    label_name_bytes_max: Annotated[int, Field(gt=0)] = 1024
    label_value_bytes_max: Annotated[int, Field(gt=0)] = 8192

    # All requests together: beyond these the answer is 503, so memory has a bound.
    inflight_bytes_max: Annotated[int, Field(gt=0)] = 256 * MIB
    queue_samples_max: Annotated[int, Field(gt=0)] = 2_000_000
    # One flush: batches near 50,000 samples cost least (ADR 0001).
    flush_samples_max: Annotated[int, Field(gt=0)] = 50_000
    flush_new_series_max: Annotated[int, Field(gt=0)] = 10_000
    commit_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    reconnect_delay_s_max: Annotated[float, Field(gt=0)] = 2.0
    series_cache_bytes_max: Annotated[int, Field(ge=64 * 1024)] = 128 * MIB
    series_active_window_s: Annotated[int, Field(ge=60)] = 3600
    drain_s: Annotated[float, Field(ge=0)] = 1.0

    # Background work.
    background: bool = True
    # `job=url,job=url`; empty = /metrics of the five services, as far as their URLs are set.
    scrape_targets: str = ""
    scrape_interval_s: Annotated[float, Field(gt=0)] = 5.0
    scrape_timeout_s: Annotated[float, Field(gt=0)] = 4.0
    scrape_body_bytes_max: Annotated[int, Field(gt=0)] = 32 * MIB
    scrape_host: bool = True
    # `service=/path/of.pid` or `service=~pattern of the command line`; empty = our own packages.
    host_processes: str = ""
    # A batch becomes part of a block once it is this old; das follows the younger ones by xid.
    compaction_delay_s: Annotated[float, Field(ge=0)] = 60.0
    compaction_interval_s: Annotated[float, Field(gt=0)] = 30.0
    # Samples one compaction run holds in memory (about 60 bytes each while it sorts).
    compaction_samples_max: Annotated[int, Field(gt=0)] = 2_000_000
    block_bytes_max: Annotated[int, Field(gt=0)] = 512 * MIB
    partition_interval_s: Annotated[float, Field(gt=0)] = 300.0
    objects_sweep_interval_s: Annotated[float, Field(gt=0)] = 300.0


class SettingsError(Exception):
    """The environment does not make a service; the text names what is missing or wrong."""


def load() -> Settings:
    """The settings of this process, or `SettingsError` with one line for each name at fault."""
    try:
        return Settings()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as exc:
        raise SettingsError(
            "; ".join(_fault(e["loc"], e["type"], e["msg"]) for e in exc.errors())
        ) from None


def _fault(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    bare = {
        str(f.validation_alias.choices[0])
        for f in Settings.model_fields.values()
        if isinstance(f.validation_alias, AliasChoices)
    }
    name = str(loc[0]) if loc else "settings"
    if name not in bare and not name.startswith("DIS_"):
        name = f"DIS_{name.upper()}"
    return f"{name} is not set" if kind == "missing" else f"{name}: {message}"
