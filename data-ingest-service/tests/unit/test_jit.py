"""Numba's cache never outlives what was compiled."""

import shutil
import subprocess
import sys
from pathlib import Path

from data_ingest.chassis import jit

STEP = "from pkg.chassis.jit import inlined\n@inlined\ndef step(x):\n    return x + {}\n"
KERNEL = """
from pkg.chassis.jit import int64, kernel
from pkg.kernels.steps import step
@kernel(int64(int64))
def run(x):
    return step(x)
"""


def test_a_step_in_another_file_is_compiled_anew(tmp_path):
    """A kernel whose own file stays the same runs the steps as they stand, cache or no cache."""
    for folder in ("chassis", "kernels"):
        (tmp_path / "pkg" / folder).mkdir(parents=True)
    shutil.copy(jit.__file__, tmp_path / "pkg" / "chassis" / "jit.py")
    (tmp_path / "pkg" / "kernels" / "loop.py").write_text(KERNEL)
    script = "from pkg.kernels.loop import run; print(run(1), sum(run.stats.cache_hits.values()))"
    printed = []
    for added in (1, 1, 2):
        (tmp_path / "pkg" / "kernels" / "steps.py").write_text(STEP.format(added))
        done = subprocess.run(
            # No byte code: it goes by the second of its source, written twice within one here.
            [sys.executable, "-B", "-c", script],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        printed.append(done.stdout.split())
    assert printed == [["2", "0"], ["2", "1"], ["3", "0"]]
    assert list(Path(tmp_path).rglob("*.nbi"))
