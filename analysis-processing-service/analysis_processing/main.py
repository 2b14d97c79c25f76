"""Entry module: `uvicorn analysis_processing.main:app`. Importing it reads the environment."""

from analysis_processing import __version__
from analysis_processing.chassis.start import start
from analysis_processing.settings import Settings

settings, app = start(Settings, "analysis_processing.app", __version__)
