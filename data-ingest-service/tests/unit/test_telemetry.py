"""Logs on a disk that is full."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import structlog
from data_ingest.chassis import telemetry

telemetry.configure("dis", "info")
structlog.get_logger().info("a line")
structlog.get_logger().warning("another", size=1)
print("done", file=__import__("sys").stderr)
"""


def test_a_log_that_cannot_be_written_is_lost_and_nothing_else():
    """On a full disk a log line raises nothing: what logs goes on."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.stderr.splitlines()[0] == "done"


def test_a_log_that_can_be_written_is():
    """Otherwise each line is one JSON object on standard output."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    events = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    assert events == ["a line", "another"]
