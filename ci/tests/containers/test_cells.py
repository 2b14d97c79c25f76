"""The cells of a matrix, as Jenkins runs them: all at once, in one workspace."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_platform
from small_platform import why_no_docker

REASON = tiny_platform.why_not() or why_no_docker()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
SERVICES = ("das", "dis", "aps", "ubs", "ui")
ENVIRON = {**os.environ, "BRANCH_NAME": "change", "BUILD_NUMBER": "4711"}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Run `python -m ci` with each of the argument lists at the same moment; what each ended as."""
    root = tiny_platform.make(tmp_path_factory.mktemp("cells") / "hub")
    subprocess.run(["git", "-C", root, "checkout", "--quiet", "-b", "change"], check=True)
    for changed in (*root.glob("*/serve.py"), root / "ci" / "cli.py"):
        changed.write_text(f"{changed.read_text()}# changed\n")
    tiny_platform.commit(root)

    def one(words):
        return subprocess.run(
            ["ci/.venv/bin/python", "-m", "ci", *words],
            cwd=root, env=ENVIRON, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip

    def at_once(*calls):
        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    at_once.root = root
    (planned,) = at_once(["plan", "--out", "plan.json"])
    assert planned.returncode == 0, planned.stderr
    yield at_once
    listed = ["docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}"]
    listed.append("--filter=reference=*:4711-*")
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["docker", "image", "rm", *names], capture_output=True, check=bool(names))


def journal(root):
    """(command, exit code) of what was recorded, in any order."""
    lines = (root / ".cache" / "ci" / "outcomes.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line]
    return sorted((entry["command"], entry["exit_code"]) for entry in entries)


def test_cells_of_a_stage_do_not_meet(cells):
    """Each leaves its results, its line for the summary, and nothing of another's."""
    folders = (*SERVICES, "ci")
    ended = cells(
        *(["test", "--plan", "plan.json", "--junit", f"junit/{each}.xml", each] for each in folders)
    )
    assert [done.returncode for done in ended] == [0] * 6, [done.stdout[-2000:] for done in ended]
    for each in folders:
        assert 'errors="0" failures="0"' in (cells.root / "junit" / f"{each}.xml").read_text()
    ended = cells(*(["build", "--plan", "plan.json", each] for each in SERVICES))
    assert [done.returncode for done in ended] == [0] * 5, [done.stdout[-2000:] for done in ended]
    sboms = {path.stem for path in (cells.root / ".cache" / "ci" / "sbom").glob("*.json")}
    assert len(sboms) == 5
    assert journal(cells.root) == [("build", 0)] * 5 + [("plan", 0)] + [("test", 0)] * 6
