"""Entry module: `uvicorn data_api.main:app`. Importing it reads the environment."""

from data_api import __version__
from data_api.chassis.start import start
from data_api.settings import Settings

settings, app = start(Settings, "data_api.app", __version__)
