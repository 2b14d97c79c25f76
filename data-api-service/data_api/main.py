"""Entry module: settings → telemetry → app. The only import that does anything."""

import sys

from pydantic import ValidationError

from data_api import __version__
from data_api.app import create_app
from data_api.chassis.telemetry import configure
from data_api.settings import Settings


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in exc.errors()
        )
        sys.exit(f"data-api-service cannot start: {faults}")


settings = _settings()
configure("das", settings.log_level, __version__)
app = create_app(settings)
