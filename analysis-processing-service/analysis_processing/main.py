"""Entry module of the web process: settings → telemetry → app. Importing it does that work."""

from analysis_processing import __version__
from analysis_processing.app import create_app
from analysis_processing.chassis import telemetry
from analysis_processing.settings import Settings, load

settings = load(Settings)
telemetry.configure("aps", settings.log_level, __version__)
app = create_app(settings)
