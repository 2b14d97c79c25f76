"""Killed between any two steps, a run is made up for by the next one, and nothing is done twice."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import delivery_lab
import direct_call
import pytest
from small_platform import why_no_registry

from ci.tests.lab.ecr_door import running_ecr
from ci.tools.ecr import Registry

ROOT = Path(__file__).resolve().parents[3]
STEPS = ("cloned", "decided", "written", "rendered", "committed", "pushed")
REASON = why_no_registry()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

# Killed runs, in processes of their own: SIGKILL at a step, so that nothing can be tidied up. One
# process imports all that is needed and forks for each, which is ten times faster.
KILLED = """
import json, os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/ci/tests"]
import delivery_lab
from pathlib import Path
from ci.tests.lab.git_server import GitServer
from ci.bump import bumping
from ci.bump.handshake import Means
from ci.model import Release
def run(folder, port, step, commits, text, release):
    server = GitServer(Path(folder) / "server", port, delivery_lab.USER, delivery_lab.PASSWORD)
    lab = delivery_lab.Lab(Path(folder), server, text, commits)
    die = lambda at: os.kill(os.getpid(), signal.SIGKILL) if at == step else None
    context, means = lab.context(at=1), Means(render=lambda *_: (), at=die)
    bumping.deliver(context, lab.delivery(context), Release.from_json(release), means)
for line in sys.stdin:
    if pid := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    else:
        run(**json.loads(line))
        os._exit(0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Run the bump of a release that dies at `step`; how it ended, as a shell would say."""
    argv = [sys.executable, "-c", KILLED, str(ROOT)]
    env = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("left"))}  # what it cannot tidy up
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as runner:

        def run(lab, release, step):
            asked = {"folder": str(lab.folder), "port": lab.server.port, "commits": lab.commits}
            asked |= {"step": step, "text": lab.text, "release": release.to_json()}
            json.dump(asked, runner.stdin)
            runner.stdin.write("\n")
            runner.stdin.flush()
            return int(runner.stdout.readline())

        yield run
        runner.stdin.close()


@pytest.fixture
def lab(tmp_path):
    """All three services run as built from the first commit."""
    with delivery_lab.running(tmp_path) as lab:
        lab.bump(0)
        yield lab


@pytest.fixture
def registry(lab, tmp_path):
    with running_ecr(tmp_path / "ecr") as door:
        lab.at_registry(door)
        yield Registry(door.registry, door.environ)


def planned(lab, at):
    """The services that a build of that commit would make anew."""
    parts = direct_call.call("plan", [], lab.context(at=at)).facts["plan"]["parts"]
    return [part["name"] for part in parts if part["build"]]


def empty_commit(lab, at):
    """Somebody pushes again, and nothing of any service changes with it."""
    delivery_lab.git(lab.source, "checkout", "-q", "--detach", lab.commits[at - 1])
    when = f"{int((delivery_lab.BEGAN + timedelta(hours=at)).timestamp())} +0000"
    words = ("commit", "-q", "--allow-empty", "-m", "nothing")
    delivery_lab.git(lab.source, *words, GIT_COMMITTER_DATE=when)
    lab.commits[at:] = [delivery_lab.git(lab.source, "rev-parse", "HEAD")]


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_any_step_is_made_up_for_once(lab, registry, killed, step):
    """What it published and never delivered is built again by the next build, and handed over.

    Its images stay in the registry; nothing else is left of it. What it had delivered is not built.
    """
    before = len(lab.log())
    lost = lab.published(registry, 1, codes=["das"])
    assert killed(lab, lost, step) == -9
    landed = step == "pushed"
    assert len(lab.log()) == before + landed
    assert registry.find("cloudopshub-das", lost.tag) is not None
    empty_commit(lab, 2)
    assert planned(lab, 2) == ([] if landed else ["das"])
    if not landed:
        again = lab.published(registry, 2, codes=["das"])
        context = lab.context(at=2)
        context.handed_on.mkdir(parents=True, exist_ok=True)
        (context.handed_on / "release.json").write_text(json.dumps(again.to_json()))
        assert direct_call.call("bump", [], context).status == "bumped"
        assert again.images["das"].pin in lab.file("das")
        assert direct_call.call("bump", [], context).status == "already"
        assert planned(lab, 2) == []
    assert len(lab.log()) == before + 1
