"""Numba's cache never outlives what was compiled, and is read without what compiles; walkers count
no references.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    """A kernel whose own file stays the same runs the steps as they stand, cache or no cache; where
    it is loaded from the cache, what only compiling needs is not imported.
    """
    for folder in ("chassis", "kernels"):
        (tmp_path / "pkg" / folder).mkdir(parents=True)
    shutil.copy(jit.__file__, tmp_path / "pkg" / "chassis" / "jit.py")
    (tmp_path / "pkg" / "kernels" / "loop.py").write_text(KERNEL)
    script = (
        "import sys; from pkg.kernels.loop import run;"
        "print(run(1), sum(run.stats.cache_hits.values()), 'numba.np.linalg' in sys.modules)"
    )
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
    assert printed == [["2", "0", "True"], ["2", "1", "False"], ["3", "0", "True"]]
    assert list(Path(tmp_path).rglob("*.nbi"))


WALKER = """
import numpy as np
from data_ingest.chassis.jit import BYTES, inlined, int64, kernel, walker
@inlined
def step(buf, i):
    while i < buf.size and buf[i] != 7:
        i += 1
    return i
@inlined
def array(n):
    return np.zeros(n, np.int64)
@DECORATOR(int64(BYTES))
def run(buf):
    return BODY
print("\\tlock" in "".join(run.inspect_asm().values()))
"""


def compiled(tmp_path: Path, decorator: str, body: str) -> "subprocess.CompletedProcess[str]":
    """What compiling `body` came to; it prints whether there are atomic instructions."""
    text = WALKER.replace("DECORATOR", decorator).replace("BODY", body)
    (tmp_path / "made.py").write_text(text)
    here = str(Path(jit.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-B", "made.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": here, "NUMBA_CACHE_DIR": str(tmp_path / decorator)},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_walker_counts_no_references(tmp_path):
    """Unlike a kernel's, its code is without atomic instructions, also in its steps."""
    body = "step(buf, 0) + step(buf, 1)"
    walker, kernel = (compiled(tmp_path, name, body) for name in ("walker", "kernel"))
    assert (walker.stdout, kernel.stdout) == ("False\n", "True\n")


@pytest.mark.parametrize("body", ["np.zeros(buf.size, np.int64).size", "array(buf.size).size"])
def test_a_walker_that_makes_an_array_does_not_compile(body, tmp_path):
    """Neither may a step of it: nobody would free the array."""
    done = compiled(tmp_path, "walker", body)
    assert "TypingError" in done.stderr
