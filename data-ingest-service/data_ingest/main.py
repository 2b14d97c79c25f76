"""Entry module: `uvicorn data_ingest.main:app`. Importing it reads the environment."""

from data_ingest import __version__
from data_ingest.chassis.start import start
from data_ingest.settings import Settings

settings, app = start(Settings, "data_ingest.app", __version__)
