"""The process that workers are forked from: they start in milliseconds and share its memory.

It has one thread, imports everything, loads the kernels and then waits: each message brings the
socket of a worker to fork. It ends with the service, whose end closes the socket.
"""

import gc
import os
import signal
import socket
import sys
from typing import Final

from data_api import promql
from data_api.store import fragments
from data_api.workers import process

NICE: Final = 10  # whoever serves goes first


def main(descriptor: int) -> None:
    """Forks a worker for each socket that comes; returns when the service has ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the service, which tells us by closing
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    promql.warm_up()
    fragments.kernels()
    gc.collect()
    gc.freeze()  # a worker's collections would copy all of this
    with socket.socket(fileno=descriptor) as service:
        while True:
            message, descriptors, _, _ = socket.recv_fds(service, 65536, 1)
            if not message:
                return
            if os.fork() == 0:
                break
            os.close(descriptors[0])
    os.nice(NICE)
    process.main(socket.socket(fileno=descriptors[0]))
    sys.stdout.flush()
    os._exit(0)
