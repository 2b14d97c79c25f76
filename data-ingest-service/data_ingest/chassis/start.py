"""The start of a service, each step only after the one before.

settings ─▶ telemetry ─▶ app (imports all that is wired, compiles kernels) ─▶ serving
"""

import importlib
import sys

from fastapi import FastAPI

from . import telemetry
from .kinds import ServiceError
from .settings import ServiceSettings, load


def start(
    kind: type[ServiceSettings], module: str, version: str
) -> tuple[ServiceSettings, FastAPI]:
    """The settings, and what `create_app` of `module` makes of them; not served yet.

    Ends the process with one line when the settings are wrong, or cannot work for the app.
    """
    settings = load(kind)
    telemetry.configure(kind.code, settings.log_level, version)
    try:
        app: FastAPI = importlib.import_module(module).create_app(settings)
    except ServiceError as exc:
        sys.exit(f"{kind.service} cannot start: {exc}")
    return settings, app
