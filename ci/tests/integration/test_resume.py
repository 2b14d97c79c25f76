"""Killed between any two steps, a run is finished by the next one, and nothing is done twice."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import delivery_lab
import pytest

from ci.bump import resuming
from ci.errors import Defect, Refused

ROOT = Path(__file__).resolve().parents[3]
STEPS = ("cloned", "decided", "written", "rendered", "committed", "pushed")

# Killed runs, in processes of their own: SIGKILL at a step, so that nothing can be tidied up. One
# process imports all that is needed and forks for each, which is ten times faster.
KILLED = """
import json, os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/ci/tests"]
import delivery_lab
from pathlib import Path
from ci.tests.lab.git_server import GitServer
from ci.bump.handshake import Means
def run(folder, port, step, commits):
    server = GitServer(Path(folder) / "server", port, delivery_lab.USER, delivery_lab.PASSWORD)
    lab = delivery_lab.Lab(Path(folder), server, delivery_lab.text(), commits)
    die = lambda at: os.kill(os.getpid(), signal.SIGKILL) if at == step else None
    lab.bump(1, means=Means(render=lambda *_: (), at=die))
for line in sys.stdin:
    if pid := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    else:
        run(**json.loads(line))
        os._exit(0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Run a bump that dies at `step`; how it ended, as a shell would say."""
    argv = [sys.executable, "-c", KILLED, str(ROOT)]
    env = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("left"))}  # what it cannot tidy up
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as runner:

        def run(lab, step):
            asked = {"folder": str(lab.folder), "port": lab.server.port}
            json.dump(asked | {"step": step, "commits": lab.commits}, runner.stdin)
            runner.stdin.write("\n")
            runner.stdin.flush()
            return int(runner.stdout.readline())

        yield run
        runner.stdin.close()


class Records:
    """The release records of a registry, newest first."""

    def __init__(self, *releases):
        self.releases = {each.tag: each for each in releases}
        self.read = []

    def release_tags(self):
        return list(self.releases)

    def read_release(self, tag):
        self.read.append(tag)
        return self.releases.get(tag)


@pytest.fixture
def lab(tmp_path):
    with delivery_lab.running(tmp_path) as lab:
        yield lab


def resume(lab, *releases, at=-1, dry_run=False, **options):
    context = lab.context(at=at, dry_run=dry_run)
    return resuming.resume(
        context, lab.delivery(context), Records(*releases), delivery_lab.MEANS, **options
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_any_step_is_finished_once(lab, killed, step):
    """Before the push it is finished by `resume`; after it there is nothing left to do."""
    assert killed(lab, step) == -9
    assert len(lab.log()) == (2 if step == "pushed" else 1)
    outcome = resume(lab, lab.release(1), at=1)
    assert outcome.status == ("nothing" if step == "pushed" else "resumed")
    assert len(lab.log()) == 2
    assert lab.release(1).images["das"].pin in lab.file("das")
    assert resume(lab, lab.release(1), at=1).status == "nothing"
    assert lab.bump(1).status == "already"
    assert len(lab.log()) == 2


def test_of_what_was_left_only_the_newest_is_handed_over(lab):
    """Of three unfinished runs of one service the last gets a commit; the others are overtaken."""
    newest_first = [lab.release(3), lab.release(2), lab.release(1)]
    outcome = resume(lab, *newest_first)
    assert outcome.status == "resumed"
    assert lab.log("%(trailers:key=Release-Tag,valueonly,separator=)") == [newest_first[0].tag]


def test_what_was_left_of_different_services_is_all_handed_over(lab):
    """Each unfinished run that is the newest of some service gets its commit."""
    das, dis = lab.release(2, codes=["das"]), lab.release(1, codes=["dis"])
    assert resume(lab, das, dis).status == "resumed"
    tags = lab.log("%(trailers:key=Release-Tag,valueonly,separator=)")
    assert set(tags[:2]) == {das.tag, dis.tag}


def test_a_run_of_a_rewritten_history_is_named_and_left(lab):
    """It does not stop the runs that come after the rewriting."""
    lab.bump(2)
    astray = replace(lab.release(3), source_commit="f" * 40, run_id="astray")
    outcome = resume(lab, astray)
    assert outcome.status == "nothing"
    assert "left as it is" in outcome.text


def test_what_was_overtaken_stays_behind(lab):
    """An unfinished run whose services are all newer already is nothing to do."""
    lab.bump(4)
    outcome = resume(lab, lab.release(4), lab.release(2))
    assert outcome.status == "nothing"
    assert len(lab.log()) == 2


def test_a_dry_run_of_resume_only_tells(lab):
    """It shows what would be committed."""
    outcome = resume(lab, lab.release(2), lab.release(1), dry_run=True)
    assert lab.release(1).run_id not in outcome.text
    assert lab.release(2).run_id in outcome.text
    assert len(lab.log()) == 1


def test_a_release_that_its_scan_stopped_is_not_brought_by_the_back_door(lab):
    """What may not go on is left, and named."""

    def cleared(release):
        raise Refused("a critical finding")

    outcome = resume(lab, lab.release(1), cleared=cleared)
    assert outcome.status == "nothing"
    assert "critical finding" in outcome.text
    assert len(lab.log()) == 1


def test_only_the_last_records_are_looked_at(lab):
    """The look back is bounded."""
    records = Records(lab.release(3), lab.release(2), lab.release(1))
    context = lab.context()
    resuming.resume(context, lab.delivery(context), records, delivery_lab.MEANS, last=2)
    assert records.read == [lab.release(3).tag, lab.release(2).tag]


def test_a_service_that_is_no_more_does_not_stop_the_others(lab):
    """A release of the time before it was taken out of ci.toml still brings the rest."""
    before = lab.release(1)
    old = replace(before.images["das"], repository=f"{lab.host}/cloudopshub-old")
    outcome = resume(lab, replace(before, images={**before.images, "old": old}))
    assert outcome.status == "resumed"
    assert "no such service any more" in outcome.text
    assert lab.release(1).images["das"].pin in lab.file("das")


def test_a_tag_that_is_no_record_is_named_and_left(lab):
    """Whoever put something else beside the records stops no build with it."""

    class Odd(Records):
        def release_tags(self):
            return ["latest", "odd", *super().release_tags()]

        def read_release(self, tag):
            if tag in {"latest", "odd"}:
                raise (Refused if tag == "odd" else Defect)(f"{tag} is no release record")
            return super().read_release(tag)

    context = lab.context()
    records = Odd(lab.release(1))
    outcome = resuming.resume(context, lab.delivery(context), records, delivery_lab.MEANS)
    assert outcome.status == "resumed"
    assert len(outcome.facts["left"]) == 2


def test_a_release_that_the_manifests_do_not_take_stops_no_other(lab):
    """Neither the next unfinished one nor the build that comes to mend it."""
    bad = lab.release(2)

    def render(folder, service, _environment, edited):
        text = (folder / f"environments/staging/{service.folder}.yaml").read_text()
        if edited and bad.tag in text:
            raise Refused("does not render")
        return ()

    context = lab.context()
    means = replace(delivery_lab.MEANS, render=render)
    records = Records(bad, lab.release(1))
    outcome = resuming.resume(context, lab.delivery(context), records, means)
    assert outcome.status == "resumed"
    assert "does not render" in outcome.facts["left"][0]
    assert lab.log("%(trailers:key=Release-Tag,valueonly,separator=)")[0] == lab.release(1).tag
    assert bad.tag not in lab.file("dis")


def test_what_the_server_says_of_every_delivery_is_not_the_releases_fault(lab):
    """A refused push would refuse the next one as well."""
    hook = lab.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no deliveries today; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Refused, match="no deliveries today"):
        resume(lab, lab.release(1))


def test_an_image_of_another_registry_is_left_where_it_is(lab):
    """Whoever can write a record cannot bring images from elsewhere with it."""
    foreign = replace(lab.image("das", "1"), repository="evil.example/cloudopshub-das")
    outcome = resume(lab, replace(lab.release(1), images={"das": foreign}))
    assert outcome.status == "nothing"
    assert "evil.example" in outcome.facts["left"][0]
    assert len(lab.log()) == 1
