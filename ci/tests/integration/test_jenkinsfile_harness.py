"""The harness judges and runs files as Jenkins would: what it refuses, runs and hides."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ci.tests.lab import jenkins
from ci.tests.lab.jenkins import Credential, Job

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "jenkinsfiles"
GOOD = (GOLDEN / "good.Jenkinsfile").read_text()
MAIN = {"BRANCH_NAME": "main"}
PULL_REQUEST = {"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_TARGET": "main"}
PASSWORD = "hush-hush-4711"
KEY = "-----BEGIN KEY-----\nzzz-key-material\n"
CREDENTIALS = {
    "manifests": Credential("usernamePassword", {"username": "robot", "password": PASSWORD}),
    "signing-key": Credential("sshUserPrivateKey", {"username": "git", "content": KEY}),
}
CHECK = """#!/bin/sh
echo "<testsuite tests='1' failures='${BAD:-0}'/>" > $1.xml
test "$1" != "$BROKEN"
"""

pytestmark = pytest.mark.skipif(jenkins.missing() is not None, reason=str(jenkins.missing()))


@pytest.fixture
def run(tmp_path):
    """Run a Jenkinsfile in a fresh workspace, where `check FOLDER` is what tests a folder."""

    def started(source, environ, credentials=None, **more):
        workspace = tmp_path / "workspace"
        (workspace / "bin").mkdir(parents=True, exist_ok=True)
        (workspace / "bin" / "check").write_text(CHECK)
        (workspace / "bin" / "check").chmod(0o755)
        job = Job(
            source=source,
            environ={"PATH": os.defpath, **environ},
            credentials=CREDENTIALS if credentials is None else credentials,
            workspace=workspace,
            archive=tmp_path / "archive",
            locks=tmp_path / "locks",
            **more,
        )
        return jenkins.run_jenkinsfile(job, tmp_path / "console.log")

    return started


def results(ran):
    """Stage name → result; a matrix' cells by their own names."""
    return {each.name: each.result for each in ran.stages}


@pytest.fixture(scope="module")
def readings():
    """Every golden file as read on main."""
    files = sorted(GOLDEN.glob("*.Jenkinsfile"))
    jobs = [Job(path.read_text(), {"PATH": "/bin", **MAIN}) for path in files]
    return {path.stem: told for path, told in zip(files, jenkins.read(jobs), strict=True)}


RUN_ONLY = {"good", "missing_credential", "interpolated_secret"}
BROKEN = sorted({path.stem for path in GOLDEN.glob("*.Jenkinsfile")} - RUN_ONLY)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_jenkins_words(readings, name):
    """The first line of each golden file says what its reader has to be told."""
    expected = (GOLDEN / f"{name}.Jenkinsfile").read_text().splitlines()[0].removeprefix("// ")
    texts = [text for _, text in readings[name].faults]
    assert any(expected in text for text in texts), texts
    assert not readings[name].steps
    assert all(line >= 1 for line, _ in readings[name].faults)


def test_a_good_file_has_no_faults_and_no_warnings(readings):
    """What is refused is refused for a reason."""
    assert (readings["good"].faults, readings["good"].warnings) == ([], [])


def test_a_secret_in_a_double_quoted_string_is_warned_of(readings):
    """Interpolation hands it to the command line."""
    first = (GOLDEN / "interpolated_secret.Jenkinsfile").read_text().splitlines()[0]
    assert first.removeprefix("// ") in readings["interpolated_secret"].warnings[0][1]


def test_a_credential_that_is_not_there_fails_the_run(run):
    """And the stages before it have run."""
    ran = run((GOLDEN / "missing_credential.Jenkinsfile").read_text(), MAIN)
    assert results(ran)["Publish"] == ran.result == "FAILURE"
    assert "Could not find credentials entry with ID 'no-such-key'" in ran.console.read_text()
    assert results(ran)["Tests of a folder"] == "SUCCESS"


def test_main_runs_everything_in_order(run, tmp_path):
    """Cells of a matrix, then Publish with credentials: masked, key files private."""
    ran = run(GOOD, MAIN)
    console = ran.console.read_text()
    assert ran.ok, console
    assert [each.path for each in ran.stages] == [
        ("Test",),
        ("Test", "Matrix - FOLDER = 'one'"),
        ("Test", "Matrix - FOLDER = 'one'", "Tests of a folder"),
        ("Test", "Matrix - FOLDER = 'two'"),
        ("Test", "Matrix - FOLDER = 'two'", "Tests of a folder"),
        ("Publish",),
        ("Publish", "Push"),
        ("Publish", "Handshake"),
    ]
    assert "as robot with ****" in console
    assert PASSWORD not in console
    assert "\n400\n" in console
    assert (tmp_path / "workspace" / "key.seen").read_text() == KEY
    assert (tmp_path / "archive" / "bump.diff").read_text() == "bumped\n"
    assert ran.archived == ["bump.diff"]
    assert [each["name"] for each in ran.post] == ["archiveArtifacts", "echo", "echo"]


def test_nothing_else_publishes():
    """Another branch, a tag called main, and a build that knows no branch skip the same stages."""
    elsewhere = ({"BRANCH_NAME": "feature/x"}, MAIN | {"TAG_NAME": "main"}, {}, PULL_REQUEST)
    for told in jenkins.read([Job(GOOD, {"PATH": "/bin", **each}) for each in elsewhere]):
        publishing = [step for step in told.steps if step["stage"][:1] == ["Publish"]]
        assert publishing
        assert not any(step["runs"] for step in publishing)


def test_a_stage_that_is_skipped_runs_no_step(run):
    """And asks for no credential, so none need be there."""
    ran = run(GOOD, PULL_REQUEST, credentials={})
    assert ran.ok
    assert {ran.stage(name).skipped for name in ("Publish", "Push", "Handshake")} == {
        "when conditional"
    }
    assert ran.archived == []


OPTIONS = """
pipeline {{
    agent any
    stages {{
        stage('One') {{
            options {{
                {options}
            }}
            when {{
                {when}
                branch 'main'
            }}
            steps {{
                sh 'echo x >> tries; {step}'
            }}
            post {{
                always {{
                    echo 'the end'
                }}
            }}
        }}
    }}
}}
"""


@pytest.mark.parametrize(("when", "waits"), [("", True), ("beforeOptions true", False)])
def test_options_are_entered_before_the_conditions_are_asked(run, when, waits):
    """A stage that is skipped waits for its lock first, unless it says otherwise."""
    ran = run(OPTIONS.format(options="lock('it')", when=when, step="true"), PULL_REQUEST)
    assert ran.stage("One").skipped == "when conditional"
    assert ("Trying to acquire lock" in ran.console.read_text()) is waits


@pytest.mark.parametrize(
    ("condition", "branch", "runs"),
    [
        ("branch 'main'", "MAIN", True),
        ("branch pattern: 'main', comparator: 'EQUALS'", "MAIN", False),
        ("branch pattern: 'main', comparator: 'EQUALS'", "main", True),
        ("branch pattern: 'ma.*', comparator: 'REGEXP'", "main", True),
        ("branch 'ma*'", "main/x", False),
    ],
)
def test_a_branch_is_compared_as_jenkins_compares_it(condition, branch, runs):
    """By a pattern that takes capitals for small letters, unless it says how."""
    source = OPTIONS.format(options="timestamps()", when="", step="true")
    job = Job(source.replace("branch 'main'", condition), {"PATH": "/bin", "BRANCH_NAME": branch})
    (told,) = jenkins.read([job])
    assert {step["runs"] for step in told.steps} == {runs}


def test_a_report_that_cannot_be_read_makes_the_build_unstable(run):
    """Half a file is what a killed run leaves."""
    step = "echo \"<testsuite tests=\" > half.xml'\njunit 'half.xml"
    ran = run(OPTIONS.format(options="timestamps()", when="", step=step), MAIN)
    assert ran.result == "UNSTABLE"
    assert "Failed to read half.xml" in ran.console.read_text()


def test_retry_among_the_options_tries_the_whole_stage_again(run, tmp_path):
    """Its `post` each time, as Jenkins has it; what the last try came to counts."""
    second = "test $(wc -l < tries) = 2"
    ran = run(OPTIONS.format(options="retry(3)", when="", step=second), MAIN)
    assert ran.result == "SUCCESS"
    assert (tmp_path / "workspace" / "tries").read_text() == "x\n" * 2
    assert ran.stage("One").post == ["always"] * 2


def test_after_a_timeout_of_the_stage_its_post_runs(run):
    """It is there to tell of it."""
    options = "timeout(time: 1, unit: 'SECONDS')"
    ran = run(OPTIONS.format(options=options, when="", step="exec sleep 60"), MAIN)
    assert ran.result == "ABORTED"
    assert ran.stage("One").post == ["always"]
    assert "the end" in ran.console.read_text()


def test_a_failing_test_stops_what_follows_but_not_its_siblings(run):
    """The other cell runs, Publish does not, and the conditions for it do, in Jenkins' order."""
    ran = run(GOOD, MAIN | {"BROKEN": "one"})
    assert ran.result == "FAILURE"
    assert ran.stage("Matrix - FOLDER = 'one'", "Tests of a folder").result == "FAILURE"
    assert ran.stage("Matrix - FOLDER = 'one'", "Tests of a folder").post == ["always"]
    assert ran.stage("Matrix - FOLDER = 'two'").result == "SUCCESS"
    assert ran.stage("Publish").skipped == "earlier failure(s)"
    console = ran.console.read_text()
    assert "ERROR: script returned exit code 1" in console
    posts = [line.partition(": ")[2] for line in console.splitlines() if "Post stage" in line]
    assert posts == ["always", "always", "always", "failure", "cleanup"]


def test_reported_test_failures_make_a_build_unstable(run):
    """As the junit step does; later stages run."""
    ran = run(GOOD, MAIN | {"BAD": "1"})
    assert ran.result == "UNSTABLE"
    assert ran.stage("Publish").result == "SUCCESS"


def wrapped(body):
    """A pipeline of one stage around `body`."""
    return f"""
pipeline {{
agent any
stages {{
stage('Only') {{
steps {{
{body}
}}
}}
}}
}}
"""


def test_retry_repeats_and_gives_up(run, tmp_path):
    """As often as it says, and no more."""
    ran = run(wrapped("retry(3) {\nsh 'echo x >> tries; false'\n}"), {})
    assert ran.result == "FAILURE"
    assert (tmp_path / "workspace" / "tries").read_text() == "x\n" * 3


def test_a_timeout_ends_a_step_with_all_its_processes(run, tmp_path):
    """The build is aborted, not failed, and nothing is left running."""
    inner = 'sh -c "echo \\$\\$ > pid; sleep 60" && true'
    ran = run(wrapped(f"timeout(time: 3, unit: 'SECONDS') {{\nsh '{inner}'\n}}"), {})
    assert ran.result == "ABORTED"
    pid = int((tmp_path / "workspace" / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_the_environment_is_what_the_build_server_gives(run, monkeypatch):
    """Nothing of this process' own environment reaches a step."""
    monkeypatch.setenv("OURS", "leaked")
    ran = run(wrapped("sh 'echo \"[${OURS:-none}]\"'"), {})
    assert "[none]" in ran.console.read_text()


def test_credentials_never_stand_in_an_argument_list(run, tmp_path):
    """Neither the harness' nor a step's; the step looks at every process it can see."""
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\\\0' ' ' > seen; true"
    bound = "credentialsId: 'manifests', usernameVariable: 'U', passwordVariable: 'P'"
    body = f"withCredentials([usernamePassword({bound})]) {{\nsh '''{look}'''\n}}"
    ran = run(wrapped(body), {})
    assert ran.ok, ran.console.read_text()
    seen = (tmp_path / "workspace" / "seen").read_text(errors="replace")
    assert "groovy" in seen
    assert PASSWORD not in seen


def test_a_lock_is_held_against_other_builds(run, tmp_path):
    """Two harnesses with the same resource take turns."""
    body = "lock('one') {\nsh 'test ! -e ../busy; touch ../busy; sleep 0.3; rm ../busy'\n}"
    results = []

    def build(number):
        workspace = tmp_path / f"w{number}"
        workspace.mkdir()
        job = Job(wrapped(body), {"PATH": os.defpath}, {}, workspace, None, tmp_path / "locks")
        results.append(jenkins.run_jenkinsfile(job, tmp_path / f"c{number}").result)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["SUCCESS", "SUCCESS"]


def test_without_groovy_it_says_which_package_has_it(monkeypatch):
    """A skip names what to install."""
    monkeypatch.setattr(jenkins, "JARS", ())
    assert "apt install groovy" in str(jenkins.missing())
    monkeypatch.undo()
    assert jenkins.missing({"PATH": "", "JAVA_HOME": "/nowhere"}) is None or sys.platform != "linux"


def test_a_harness_that_is_killed_leaves_nothing_behind(tmp_path):
    """Whoever waits for it may be interrupted."""
    program = (
        "import sys; from pathlib import Path; from ci.tests.lab import jenkins\n"
        "w = Path(sys.argv[1]); source = sys.argv[2]\n"
        "def heard(line):\n    if 'started' in line and '+' not in line: raise KeyboardInterrupt\n"
        "job = jenkins.Job(source, {'PATH': '/usr/bin:/bin'}, {}, w)\n"
        "jenkins.run_jenkinsfile(job, w / 'c', heard)"
    )
    source = wrapped("sh 'echo $$ > pid; echo started; sleep 60'")
    root = Path(__file__).resolve().parents[3]
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), source],
        cwd=root,
        check=False,
        capture_output=True,
        timeout=600,
    )
    pid = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
