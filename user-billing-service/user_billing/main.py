"""The entry module: settings → telemetry → application. The only import that does anything."""

import sys

from user_billing import __version__
from user_billing.app import create_app
from user_billing.chassis import telemetry
from user_billing.errors import BadInput
from user_billing.settings import SERVICE, load

settings = load()
telemetry.configure("ubs", settings.log_level, __version__)
try:
    app = create_app(settings)
except BadInput as exc:
    sys.exit(f"{SERVICE}: {exc}")
