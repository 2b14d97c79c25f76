"""The real Jenkinsfile in the harness: what runs where, and with which credentials."""

import shutil
from pathlib import Path

import pytest

from ci.tests.lab import jenkins
from ci.tests.lab.jenkins import Credential, Job

ROOT = Path(__file__).resolve().parents[3]
SOURCE = (ROOT / "Jenkinsfile").read_text()
CREDENTIALS = {
    "cloudopshub-manifests": Credential(
        "usernamePassword", {"username": "robot", "password": "pass-of-the-robot"}
    ),
    "cloudopshub-commit-signing-key": Credential(
        "sshUserPrivateKey", {"username": "ci", "content": "key-of-the-robot\n"}
    ),
    "cloudopshub-aws-id-token": Credential("file", {"content": "token-of-the-robot"}),
}
PUBLISHING = {"push", "scan", "bump"}
PLACES = {
    "main": {"BRANCH_NAME": "main"},
    "pull request": {"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_TARGET": "main"},
    "pull request of a branch called main": {"BRANCH_NAME": "main", "CHANGE_ID": "8"},
    "branch": {"BRANCH_NAME": "feature/main"},
    "branch in capitals": {"BRANCH_NAME": "MAIN"},
    "tag": {"BRANCH_NAME": "main", "TAG_NAME": "main"},
}
ELSEWHERE = [name for name in PLACES if name != "main"]
# What stands in for make and python: a line for each call, and the failure that a test asks for.
STUB = """#!/bin/sh
echo "$(basename "$0") $* [${MANIFEST_REPO_PSW:-}]" >> "$WORKSPACE/../calls"
case "$*" in *"$FAILS"*) exit "${CODE:-5}" ;; esac
"""

pytestmark = pytest.mark.skipif(jenkins.missing() is not None, reason=str(jenkins.missing()))


@pytest.fixture(scope="module")
def readings():
    """The file as read in each place."""
    jobs = [Job(SOURCE, {"PATH": "/bin", **environ}) for environ in PLACES.values()]
    return dict(zip(PLACES, jenkins.read(jobs), strict=True))


@pytest.fixture
def run(tmp_path):
    """Run the file with stubs; the run, and (call, password it saw) in order."""

    def started(environ, credentials=CREDENTIALS, fails="nothing-fails"):
        programs = tmp_path / "workspace" / "ci" / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name in ("make", "python"):
            (programs / name).write_text(STUB)
            (programs / name).chmod(0o755)
        job = Job(
            source=SOURCE,
            environ={"PATH": "/usr/bin:/bin", "FAILS": fails, **environ},
            credentials=credentials,
            workspace=tmp_path / "workspace",
        )
        ran = jenkins.run_jenkinsfile(job, tmp_path / "console")
        lines = (tmp_path / "calls").read_text().splitlines()
        return ran, [tuple(line.rstrip("]").split(" [")) for line in lines]

    return started


def commands(calls):
    """The `ci` commands among calls; the summary is called by its target of make."""
    words = [call.split() for call, _ in calls]
    return [
        each[3] if each[0] == "python" else each[2] for each in words if each[1] in {"-m", "-s"}
    ]


@pytest.mark.parametrize("place", PLACES)
def test_the_file_is_sound(readings, place):
    """No fault, no warning; every shell step is a call of make or ci."""
    assert (readings[place].faults, readings[place].warnings) == ([], [])
    scripts = [s["parameters"]["script"] for s in readings[place].steps if s["name"] == "sh"]
    assert all(script.startswith(("make ", "python -m ci ")) for script in scripts)


@pytest.mark.parametrize("place", PLACES)
def test_credentials_are_bound_where_something_is_published_and_nowhere_else(readings, place):
    """Two stages, on main only; a secret's name stands in no string that Groovy fills in."""
    bound = {
        (step["stage"][0], step["name"])
        for step in readings[place].steps
        if step["runs"] and step["credentials"]
    }
    expected = {("Plan", "sh"), ("Publish", "sh"), ("Publish", "lock")}
    assert bound == (expected if place == "main" else set())


@pytest.mark.parametrize("place", PLACES)
def test_what_publishes_has_agents_of_its_own(readings, place):
    """A stranger's pull request never builds on a machine that later publishes."""
    expected = "publishes" if place == "main" else "checks"
    assert readings[place].agent == {"label": f"linux && docker && {expected}"}


def test_main_runs_every_command_in_order(run):
    """Plan first; push, scan and bump last, each with the password in its environment."""
    ran, calls = run(PLACES["main"])
    assert ran.ok, ran.console.read_text()
    tests, builds = ["test"] * 6, ["build"] * 5
    order = ["plan", "lint", *tests, *builds, "push", "scan", "bump", "summary"]
    assert commands(calls) == order
    seeing = {call.split()[3] for call, seen in calls if seen == "pass-of-the-robot"}
    assert seeing == PUBLISHING | {"plan"}
    assert "pass-of-the-robot" not in ran.console.read_text()


ONLY_CHECKED = ["plan", "lint", *["test"] * 6, *["build"] * 5, "summary"]


@pytest.mark.parametrize("place", ELSEWHERE)
def test_elsewhere_it_only_tests_and_builds(readings, place):
    """Whatever a branch or a tag is called."""
    steps = [step for step in readings[place].steps if step["runs"] and step["name"] == "sh"]
    assert commands([(step["parameters"]["script"], "") for step in steps]) == ONLY_CHECKED


def test_a_pull_request_needs_no_credential(run):
    """The store of such a job is empty; and it waits for no build of main."""
    ran, calls = run(PLACES["pull request"], credentials={})
    console = ran.console.read_text()
    assert ran.ok, console
    assert "acquire lock" not in console
    assert commands(calls) == ONLY_CHECKED


def test_a_build_without_an_environment_says_so(tmp_path):
    """With the real Makefile: the end of the console is a word about it, not a second failure."""
    workspace = tmp_path / "workspace"
    (workspace / "ci").mkdir(parents=True)
    for name in ("Makefile", "ci/bootstrap", "ci/requirements.txt"):
        shutil.copy(ROOT / name, workspace / name)
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false", **PLACES["branch"]}
    job = Job(source=SOURCE, environ=environ, credentials={}, workspace=workspace)
    ran = jenkins.run_jenkinsfile(job, tmp_path / "console")
    console = ran.console.read_text()
    assert ran.result == "FAILURE"
    assert "PYTHON=/bin/false is not a Python 3.11" in console
    assert "no command of ci ran" in console.rpartition("Post stage")[2]
    assert console.count("ERROR") == 1


@pytest.mark.parametrize("fails", ["lint", "build", "push", "scan"])
def test_what_fails_stops_what_follows_and_is_summed_up(run, fails):
    """Nothing is handed over after a failure; the summary runs whatever happened."""
    ran, calls = run(PLACES["main"], fails=fails)
    assert ran.result == "FAILURE"
    assert "bump" not in commands(calls)
    assert commands(calls)[-1] == "summary"
    assert ("push" in commands(calls)) == (fails in {"push", "scan"})


def test_one_folder_that_fails_does_not_hide_another(run):
    """All folders are tested, so one build tells of all failures."""
    ran, calls = run(PLACES["main"], fails=" das")
    assert commands(calls).count("test") == 6
    assert not {"build", "push", "scan", "bump"} & set(commands(calls))
    assert ran.stage("Matrix - FOLDER = 'ui'", "Tests of a folder").result == "SUCCESS"


def test_a_missing_credential_fails_before_anything_is_published(run):
    """And says which."""
    some = {name: each for name, each in CREDENTIALS.items() if "signing" not in name}
    ran, calls = run(PLACES["main"], credentials=some)
    assert ran.result == "FAILURE"
    assert "'cloudopshub-commit-signing-key'" in ran.console.read_text()
    assert not PUBLISHING & set(commands(calls))
