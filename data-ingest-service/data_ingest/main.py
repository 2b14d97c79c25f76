"""Entry module: settings → telemetry → kernels → app. `uvicorn data_ingest.main:app` serves it.

Importing the app imports every kernel it uses, which compiles them: the port opens after that.
"""

import sys

from data_ingest import __version__
from data_ingest.settings import Settings, SettingsError, load


def _settings() -> Settings:
    try:
        return load()
    except SettingsError as exc:
        sys.exit(f"data-ingest-service cannot start: {exc}")


settings = _settings()

from data_ingest.app import create_app  # noqa: E402 - kernels are not compiled for settings that cannot work
from data_ingest.chassis.telemetry import configure  # noqa: E402

configure("dis", settings.log_level, __version__)
app = create_app(settings)
