"""Environments as real processes make them; their lock names no package, so none is fetched."""

import subprocess
import sys
from pathlib import Path

from ci import environments

ROOT = Path(__file__).resolve().parents[3]
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
    said = [cell.communicate(timeout=120) for cell in cells]
    assert [cell.returncode for cell in cells] == [0] * 4, said
    assert len({out for out, _ in said}) == 1
    assert environments.wanted_lock(tmp_path / "svc", environments.DEV) is None
    python = environments.python_of(tmp_path / "svc")
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0
