"""The service, killed by SIGKILL once its n-th intake of usage is committed, before it answers.

python tests/dying_service.py DATABASE_URL N      prints its port
"""

import os
import signal
import socket
import sys

import uvicorn
from conftest import settings_for

from user_billing.app import create_app
from user_billing.usage.intake import Intake
from user_billing.usage.service import Usage

_taken = 0


def dying(kind):
    take = kind.take

    def taken_then_killed(self, *given):
        global _taken  # noqa: PLW0603
        answer = take(self, *given)
        _taken += 1
        if _taken == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    kind.take = taken_then_killed


if __name__ == "__main__":
    dying(Intake)
    dying(Usage)
    app = create_app(settings_for(sys.argv[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        server.run(sockets=[listener])
