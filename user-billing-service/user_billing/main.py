"""Entry module: `uvicorn user_billing.main:app`. Importing it reads the environment."""

from user_billing import __version__
from user_billing.chassis.start import start
from user_billing.settings import Settings

settings, app = start(Settings, "user_billing.app", __version__)
