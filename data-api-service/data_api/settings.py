"""Each environment name this service reads: type, default, unit and why."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Deployment names are bare, our own carry `DAS_`. Secrets have no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = 8000
    database_url: SecretStr  # libpq URL; schema `metrics` is read only
    object_store_url: str  # file:///… or s3://bucket/prefix: where the blocks live
    ubs_url: str  # introspection, JWKS and revocations
    service_token: SecretStr  # authenticates this service at ubs's /internal routes
    log_level: str = "info"

    das_query_timeout_s: Annotated[float, Field(gt=0, le=120)] = 120.0
    """Longest a query may run. At most 120: dropped batches outlive a reader by 15 minutes only."""
    das_query_samples_max: Annotated[int, Field(gt=0)] = 50_000_000
    """Samples one query may load (16 bytes each), where the plan does not set a lower limit."""
    das_query_concurrency: Annotated[int, Field(gt=0)] = 20
    """Queries of one tenant in flight, where the plan does not set a lower limit."""
    das_query_threads: Annotated[int, Field(gt=0)] = 4
    """Queries evaluated at once by this process, over all tenants; kernels release the GIL."""
    das_queue_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest a query waits for its turn before it is refused."""
    das_lookback_s: Annotated[float, Field(gt=0)] = 300.0
    """How old the newest sample may be to count as current."""
    das_head_bytes_max: Annotated[int, Field(gt=0)] = 512 * MIB
    """Decoded newest samples kept, over all tenants (24 bytes a sample)."""
    das_block_cache_bytes_max: Annotated[int, Field(gt=0)] = 512 * MIB
    """Decoded block chunks kept, over all tenants (16 bytes a sample)."""
    das_pool_connections: Annotated[int, Field(gt=0)] = 8
    """Connections to Postgres; a query holds one while it lists and fetches, never to evaluate."""
    das_drain_s: Annotated[float, Field(ge=0)] = 1.0
    """Pause between /ready turning 503 and the end, so that routers notice."""

    @field_validator("object_store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if not url.startswith(("file:///", "s3://")):
            raise ValueError("must begin with file:/// or s3://")
        return url
