"""The entry module: settings → telemetry → application. The only import that does anything."""

import sys

from . import __version__, telemetry
from .app import create_app
from .errors import BadInput
from .settings import SERVICE, load

settings = load()
telemetry.configure("ubs", settings.log_level, __version__)
try:
    app = create_app(settings)
except BadInput as exc:
    sys.exit(f"{SERVICE}: {exc}")
