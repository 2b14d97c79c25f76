"""Many pytest runs become one: live, counted truly, and nothing odd passes."""

import asyncio
import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest

from ci import catalogue
from ci.screen import Screen
from ci.test import run, suites
from ci.test.suites import Ended, closing_line, oddity

ROOT = Path(__file__).resolve().parents[3]
FAILED = 5  # what ci exits with when it found a defect
OUTER = """
import asyncio, io, os, sys
from pathlib import Path
from types import SimpleNamespace
from ci.errors import Defect
from ci.screen import Screen
from ci.test import run
from ci.test.suites import Suite
root = Path(sys.argv[1])
run.suites.suites = lambda *_: [
    Suite(p.name, p, ("tests",)) for p in sorted(root.iterdir()) if (p / "tests").exists()
]
run.environments.make = lambda *_: asyncio.sleep(0)
servers = iter(["postgresql://one", "postgresql://two"])
run.running_postgres = lambda _: run.contextlib.nullcontext(next(servers))
context = SimpleNamespace(
    catalogue=SimpleNamespace(root=root, services=()),
    settings=SimpleNamespace(cache_dir=root / "cache"),
    screen=Screen(),
    dry_run=False,
)
try:
    run.main(context, [], root / "junit.xml")
except Defect as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def outer(tmp_path):
    """Run suites given as folder → test module, perhaps by a program; its exit code and screen."""

    def run(*before, **suites):
        for name, text in suites.items():
            tests = tmp_path / name / "tests"
            tests.mkdir(parents=True)
            (tests / "test_it.py").write_text(text)
            (tmp_path / name / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
            (tmp_path / name / ".venv").symlink_to(ROOT / "ci" / ".venv")
        command = [*before, sys.executable, "-c", OUTER, str(tmp_path)]
        env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the suites here need none
        done = subprocess.run(
            command, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=600
        )
        run.error = done.stderr
        return done.returncode, done.stdout

    return run


def counts(screen):
    """The closing line: outcome → count."""
    pairs = re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", screen.splitlines()[-1])
    return {outcome: int(count) for count, outcome in pairs}


def test_suites_of_the_same_time_share_no_server(outer, tmp_path):
    """A transaction of one would decide what another may take as settled."""
    tell = "import os\ndef test_it(): open('server', 'x').write(os.environ['TEST_POSTGRES_URL'])"
    code, _ = outer(one=tell, three=tell, two=tell)
    assert code == 0
    one, three, two = ((tmp_path / each / "server").read_text() for each in ("one", "three", "two"))
    assert {one, three} == {"postgresql://one", "postgresql://two"}
    assert two in {one, three}


def test_one_server_that_is_given_has_room_for_one_suite(monkeypatch, tmp_path):
    """Twice the same address would be two suites on one server."""
    monkeypatch.setenv("TEST_POSTGRES_URL", "postgresql://given")
    monkeypatch.setattr(run.environments, "make", lambda *_: asyncio.sleep(0))
    running, most = set(), []

    async def run_suite(suite, *_):
        running.add(suite.name)
        most.append(len(running))
        await asyncio.sleep(0)
        running.remove(suite.name)
        return Ended(suite, 5, ET.Element("testsuites"), "")

    monkeypatch.setattr(run, "_run_suite", run_suite)
    context = SimpleNamespace(
        catalogue=catalogue.load(ROOT),
        settings=SimpleNamespace(cache_dir=tmp_path),
        screen=Screen(stream=io.StringIO()),
        dry_run=False,
    )
    run.main(context, ["das", "dis"], tmp_path / "junit.xml", keyword="nothing")
    assert most == [1, 1, 1, 1]


def test_units_begin_first_and_then_what_takes_longest():
    """A long suite that begins last would run alone at the end."""
    listed = catalogue.load(ROOT)
    names = [suite.name for suite in suites.suites(listed, [])]
    first = names.index("e2e")
    assert all(name.endswith(" unit") for name in names[:first])
    assert names[first : first + 2] == ["e2e", "ci containers"]
    assert not any(name.endswith(" unit") for name in names[first:])
    assert [suite.name for suite in suites.suites(listed, ["das"])] == [
        "das unit",
        "das integration",
    ]


def test_a_suite_heeds_the_signals_that_its_starter_ignores(outer):
    """A build server starts its steps by `nohup`, and tests end what they started by a signal."""
    ends = "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.{})"
    code, screen = outer("nohup", one=ends.format("SIGHUP"))
    assert code == FAILED
    assert "its pytest was killed by signal 1" in screen


def test_reports_of_all_suites_are_summed(outer, tmp_path):
    """Passed, failed, skipped and expected failures of two folders stand in one closing line."""
    head = "import pytest\n"
    code, screen = outer(
        one=f"{head}def test_a(): pass\n@pytest.mark.skip(reason='tired')\ndef test_b(): pass",
        two=f"{head}def test_a(): assert 1 == 2\n@pytest.mark.xfail\ndef test_b(): assert 0",
    )
    assert code == FAILED
    assert counts(screen) == {"passed": 1, "failed": 1, "skipped": 1, "xfailed": 1}
    assert re.search(r"^FAILED \S*two/tests/test_it.py::test_a", screen, re.MULTILINE)
    assert "tired" in screen
    junit = (tmp_path / "junit.xml").read_text()
    assert 'errors="0" failures="1" skipped="2" tests="4"' in junit
    assert 'classname="two.tests.test_it" name="test_a"' in junit


def test_the_error_of_a_run_names_the_failed_tests(outer):
    """With the first line of why, ten at most; it is what `ci summary` shows of the run."""
    tests = "".join(f"def test_{n:02}(): assert {n} == 99, 'no\\nmore'\n" for n in range(12))
    code, _ = outer(one=tests)
    first, *named, last = outer.error.strip().splitlines()
    assert (code, first) == (FAILED, "the tests of one did not all pass")
    assert named[0] == "FAILED one/tests/test_it.py::test_00 - AssertionError: no"
    assert (len(named), last) == (10, "… and 2 more")


def test_all_green_is_green(outer):
    """When every suite passes, so does the session."""
    code, screen = outer(one="def test_a(): pass", two="def test_b(): pass")
    assert (code, counts(screen)) == (0, {"passed": 2})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "it collected no tests", id="empty"),
        pytest.param("import os\ndef test_a(): os.kill(os.getpid(), 9)", "signal 9", id="killed"),
        pytest.param("import os\ndef test_a(): os._exit(0)", "before it had finished", id="left"),
        pytest.param("import nowhere_to_be_found", "No module named", id="import"),
    ],
)
def test_a_suite_that_ends_oddly_is_a_failure(outer, text, said):
    """A crash, an empty suite and a broken import fail the session and say why."""
    code, screen = outer(fine="def test_a(): pass", odd=text)
    assert code == FAILED
    assert said in screen
    assert counts(screen)["passed"] == 1


@pytest.mark.parametrize(
    ("code", "tests", "failed", "empty_is_fine", "odd"),
    [
        (0, 3, 0, False, False),
        (1, 3, 1, False, False),
        (1, 3, 0, False, True),
        (0, 3, 1, False, True),
        (0, 0, 0, False, True),
        (5, 0, 0, False, True),
        (5, 0, 0, True, False),
        (2, 0, 1, False, False),
        (2, 0, 0, False, True),
        (3, 3, 0, False, True),
        (4, 0, 0, False, True),
        (-11, 3, 0, False, True),
    ],
)
def test_what_is_odd(code, tests, failed, empty_is_fine, odd):
    """Exit code and reports must tell the same story."""
    report = ET.Element("testsuites")
    for number in range(max(tests, failed)):
        case = ET.SubElement(report, "testcase")
        if number < failed:
            ET.SubElement(case, "failure")
    ended = Ended(suite=None, code=code, report=report, last_lines="")
    assert (oddity(ended, empty_is_fine=empty_is_fine) is not None) is odd


@pytest.mark.parametrize(
    ("outcomes", "seconds", "line"),
    [
        (["passed"] * 2649, 734, "= 2649 passed in 734.00s (0:12:14) ="),
        (["error", "failed", "passed"], 1.5, "= 1 failed, 1 passed, 1 error in 1.50s ="),
        ([], 0.1, "= no tests ran in 0.10s ="),
    ],
)
def test_the_last_line_is_as_pytest_writes_it(outcomes, seconds, line):
    """Build servers and people look for it."""
    assert line in closing_line(outcomes, seconds)
