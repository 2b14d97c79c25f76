"""Environments as real processes make them; their lock names no package, so none is fetched."""

import shutil
import subprocess
import sys
from pathlib import Path

from ci import environments

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("__init__", "environments", "process", "errors", "screen")
MAKES = """
import asyncio, pathlib, sys
from ci import environments
from ci.screen import Screen
root = pathlib.Path(sys.argv[1])
asyncio.run(environments.make(root, ["svc"], environments.DEV, Screen(stream=sys.stderr)))
made = (root / "svc" / ".venv" / environments.STAMP).stat()
print(made.st_ino, made.st_mtime_ns)
"""


def test_commands_that_want_one_environment_make_it_once(tmp_path):
    """The cells of a build server's matrix begin at the same moment, in one workspace."""
    (tmp_path / "svc").mkdir()
    for lock in (environments.RUNTIME, environments.DEV):
        (tmp_path / "svc" / lock).write_text("# nothing\n")
    command = [sys.executable, "-c", MAKES, str(tmp_path)]
    cells = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [cell.communicate(timeout=600) for cell in cells]
    assert sum("another command makes it" in err.decode() for _, err in said) == 3
    assert [cell.returncode for cell in cells] == [0] * 4, said
    assert len({out for out, _ in said}) == 1
    assert environments.wanted_lock(tmp_path / "svc", environments.DEV) is None
    python = environments.python_of(tmp_path / "svc")
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_two_makes_at_once_make_the_environment_of_ci_once(tmp_path):
    """In a fresh clone the second waits and says so: it never clears what the first fills."""
    for name in ("Makefile", "ci/bootstrap", *(f"ci/{name}.py" for name in MODULES)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "ci" / environments.RUNTIME).write_text("# nothing\n")
    script = 'sh ci/bootstrap && ls -i ci/.venv/pyvenv.cfg && test -e "$0"'
    stamp = f"ci/.venv/{environments.STAMP}"
    both = [
        subprocess.Popen(
            ["sh", "-c", script, stamp],
            cwd=tmp_path,
            env={"PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=600) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len({out for out, _ in said}) == 1
    assert sum("another command makes it" in err for _, err in said) == 1
