"""The kernels are Python first: without numba's compiler they keep the same laws."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LAWS = (
    "test_labels_and_limits.py",
    "test_remote_write.py",
    "test_remote_write_2.py",
    "test_influx.py",
    "test_otlp.py",
    "test_batch.py",
    "test_series.py",
)


def test_kernels_run_as_python():
    """With NUMBA_DISABLE_JIT=1 decoding, packing and the table keep every law of their tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [str(HERE / name) for name in LAWS]
    done = subprocess.run(
        command,
        cwd=HERE.parent.parent,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
