"""The handshake against a real server: what is written, what is not, and what is said."""

import delivery_lab
import pytest

from ci.errors import OutsideFault, Refused
from ci.plan import facts
from ci.tests.lab.git_server import Fault


@pytest.fixture
def lab(tmp_path):
    with delivery_lab.running(tmp_path) as lab:
        yield lab


def statuses(outcome):
    """Service code → its status."""
    return {code: each["status"] for code, each in outcome.facts["services"].items()}


def test_a_release_becomes_one_commit_that_changes_one_line_a_service(lab):
    """Three services, one commit, three lines; comments and quotes stay; trailers tell the rest."""
    outcome = lab.bump(1)
    release = lab.release(1)
    assert outcome.status == "bumped"
    assert len(lab.log()) == 2
    stat = delivery_lab.git(lab.bare, "diff", "--numstat", "main~1", "main").splitlines()
    assert [line.split("\t")[:2] for line in stat] == [["1", "1"]] * 3
    assert f"tag: '{release.images['das'].pin}'  # by ci" in lab.file("das")
    assert "tag: '0'" in lab.file("das", "production")
    message = delivery_lab.git(lab.bare, "log", "-1", "--format=%B", "main")
    assert f"Ci-Run-Id: {release.run_id}\nRelease-Tag: {release.tag}\n" in message
    assert f"Source-Commit: {release.source_commit}" in message
    assert f"Image-das: {release.images['das']}" in message
    assert outcome.facts["commit"] == lab.log()[0]


def test_the_diff_is_left_for_the_build_server(lab):
    """`bump.diff` holds what the commit changed."""
    context = lab.context(at=1)
    lab.bump(1, context=context)
    diff = (context.handed_on / "bump.diff").read_text()
    assert diff.count("\n+  tag: ") == 3


def test_a_dry_run_shows_diff_and_message_and_changes_nothing(lab):
    """Neither the server nor the workspace knows of it afterwards."""
    context = lab.context(at=1, dry_run=True)
    outcome = lab.bump(1, context=context)
    assert "+  tag: '101-" in outcome.text
    assert "Ci-Run-Id: " in outcome.text
    assert len(lab.log()) == 1
    assert not context.handed_on.exists()
    assert not any("receive-pack" in each for each in lab.server.requests)


def test_a_run_that_is_done_is_already_done(lab):
    """The second call of the same build changes nothing and says so."""
    lab.bump(1)
    outcome = lab.bump(1)
    assert outcome.status == "already"
    assert len(lab.log()) == 2


def test_the_same_commit_built_again_is_already_there(lab):
    """Another build of the deployed commit brings nothing new."""
    lab.bump(1)
    assert lab.bump(1, build=900).status == "already"


def test_an_older_build_never_overwrites_a_newer_one(lab):
    """A slow build that ends last is superseded."""
    lab.bump(3)
    outcome = lab.bump(2)
    assert outcome.status == "superseded"
    assert lab.release(3).tag in lab.file("das")


def test_order_is_that_of_commits_not_of_build_numbers(lab):
    """A job made anew counts from 1 again, and its newer commit still goes."""
    lab.bump(2, build=5000)
    assert lab.bump(3, build=1).status == "bumped"
    assert lab.bump(2, build=5001).status == "superseded"


def test_of_a_release_the_rest_goes_when_one_service_is_ahead(lab):
    """Superseded services are named, the others are delivered."""
    lab.bump(3, codes=["das"])
    outcome = lab.bump(2)
    assert statuses(outcome) == {"das": "superseded", "dis": "bumped", "ui": "bumped"}


def test_a_history_that_does_not_meet_is_refused_with_both_commits(lab):
    """A rewritten branch is a person's decision, which `--diverged` expresses."""
    lab.bump(3)
    tree = delivery_lab.git(lab.source, "rev-parse", f"{lab.commits[3]}^{{tree}}")
    other = delivery_lab.git(
        lab.source, "commit-tree", tree, "-p", lab.commits[2], "-m", "another",
        GIT_COMMITTER_DATE="2026-03-01T00:00:00Z", GIT_AUTHOR_DATE="2026-03-01T00:00:00Z",
    )  # fmt: skip
    lab.commits.append(other)
    with pytest.raises(Refused, match="neither older nor newer") as refused:
        lab.bump(-1)
    assert refused.value.status == "diverged"
    assert lab.commits[3] in str(refused.value)
    assert other in str(refused.value)
    assert lab.bump(-1, diverged_too=True).status == "bumped"


def test_a_shallow_clone_says_what_it_cannot_know(lab):
    """Without history there is no order; the message tells to fetch it."""
    lab.bump(2)
    shallow = lab.folder / "shallow"
    delivery_lab.git(
        lab.folder, "clone", "-q", "--depth=1", "-b", "main", f"file://{lab.source}", str(shallow)
    )
    lab.source.rename(lab.folder / "whole")
    shallow.rename(lab.source)
    with pytest.raises(Refused, match="unshallow") as refused:
        lab.bump(5)
    assert refused.value.status == "shallow"


def test_a_newer_commit_that_is_not_fetched_supersedes(lab):
    """A build that was overtaken may not know the commit that overtook it."""
    lab.bump(4)
    delivery_lab.git(lab.source, "checkout", "-q", "--detach", lab.commits[2])
    delivery_lab.git(lab.source, "update-ref", "refs/heads/main", lab.commits[2])
    delivery_lab.git(lab.source, "reflog", "expire", "--expire=now", "--all")
    delivery_lab.git(lab.source, "gc", "-q", "--prune=now")
    assert lab.bump(2).status == "superseded"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(None, "no_file", id="file missing"),
        pytest.param("replicas: 2\n", "no_match", id="key missing"),
        pytest.param(
            "image:\n  repository: x.example/other\n  tag: a\n", "other_image", id="other"
        ),
    ],
)
def test_one_service_that_cannot_be_edited_stops_all(lab, content, status):
    """Either all files can be edited or none is."""

    def change(folder):
        path = folder / "environments/staging/ui-service.yaml"
        path.unlink() if content is None else path.write_text(content)

    lab.change(change)
    before = lab.log()
    with pytest.raises(Refused) as refused:
        lab.bump(1)
    assert refused.value.status == status
    assert "ui-service.yaml" in str(refused.value)
    assert lab.log() == before


@pytest.mark.parametrize("target", ["/etc/hostname", "../production/ui-service.yaml"])
def test_a_link_is_never_followed(lab, target):
    """A manifest that is a link is refused, wherever it leads."""

    def change(folder):
        path = folder / "environments/staging/ui-service.yaml"
        path.unlink()
        path.symlink_to(target)

    lab.change(change)
    with pytest.raises(Refused, match="symbolic link") as refused:
        lab.bump(1)
    assert refused.value.status == "symlink"


def test_the_registry_has_the_image_of_another_service_by_mistake(lab):
    """A release whose images are mixed up is refused by the name of the repository."""
    release = lab.release(1)
    images = dict(release.images)
    images["das"] = images["dis"]
    context = lab.context(at=1)
    mixed = type(release)(**{**vars(release), "images": images})
    with pytest.raises(Refused, match="not an image of das-service"):
        delivery_lab.bumping.deliver(context, lab.delivery(context), mixed, delivery_lab.MEANS)


def test_a_hook_that_refuses_is_policy_and_is_asked_once(lab):
    """What a server refuses by rule is not tried again, and its words are told."""
    asked = lab.folder / "asked"
    script = f"#!/bin/sh\necho x >> {asked}\necho 'only on weekdays' >&2\nexit 1\n"
    lab.server.hook("manifests", "pre-receive", script)
    with pytest.raises(Refused, match="only on weekdays") as refused:
        lab.bump(1)
    assert refused.value.status == "policy"
    assert asked.read_text() == "x\n"


def test_a_server_that_fails_once_does_not_fail_the_bump(lab):
    """One HTTP 500, at the clone or at the push, is tried again."""
    lab.server.fault(Fault("git-upload-pack", status=500))
    lab.server.fault(Fault("git-receive-pack", status=500))
    assert lab.bump(1).status == "bumped"
    assert len(lab.log()) == 2


def test_a_lost_answer_is_not_a_lost_push(lab):
    """The push arrived, its answer did not: the head says so, and nothing is done twice."""
    lab.server.fault(Fault("/git-receive-pack", status=502, after=True))
    outcome = lab.bump(1)
    assert outcome.status == "bumped"
    assert len(lab.log()) == 2


def test_a_push_that_arrived_is_known_below_the_commits_of_others(lab):
    """Its answer was lost, and somebody else went on from it before the head was asked."""
    hook = lab.bare / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        '#!/bin/sh\nread old new ref\nwho="-c user.name=a -c user.email=a@b"\n'
        'git update-ref "$ref" "$(git $who commit-tree -p "$new" -m next "$new^{tree}")"\n'
    )
    hook.chmod(0o755)
    lab.server.fault(Fault("/git-receive-pack", status=502, after=True))
    outcome = lab.bump(1)
    assert (outcome.status, outcome.facts["commit"]) == ("bumped", lab.log()[1])
    assert len(lab.log()) == 3


def test_a_server_that_keeps_failing_is_an_outside_fault(lab):
    """After a few tries it is somebody else's turn: exit 4."""
    for _ in range(10):
        lab.server.fault(Fault("service=git-receive-pack", status=500))
    with pytest.raises(OutsideFault):
        lab.bump(1)
    assert len(lab.log()) == 1


def test_a_force_pushed_branch_is_met_anew(lab):
    """Between clone and push the branch is rewritten: what was lost there is not brought back."""
    lab.bump(1)

    def rewind(step):
        if step == "committed" and len(lab.log()) == 2:
            delivery_lab.git(lab.bare, "update-ref", "refs/heads/main", lab.log()[1])

    means = delivery_lab.Means(render=lambda *_: (), at=rewind, sleep=lambda _: None)
    outcome = lab.bump(2, codes=["das"], means=means)
    assert outcome.status == "bumped"
    assert outcome.facts["attempts"] == 2
    assert len(lab.log()) == 2
    assert "tag: '0'" in lab.file("dis")


def test_a_lost_race_decides_again(lab):
    """The newer build that came first is not overwritten by the retry of the older one."""
    done = []

    def overtake(step):
        if step == "committed" and not done:
            done.append(step)
            lab.bump(3)

    means = delivery_lab.Means(render=lambda *_: (), at=overtake, sleep=lambda _: None)
    outcome = lab.bump(2, means=means)
    assert outcome.status == "superseded"
    assert outcome.facts["attempts"] == 2
    assert lab.release(3).tag in lab.file("das")


def test_races_end_after_as_many_attempts_as_configured(lab):
    """Somebody who is always first wins; the exit code says that again may help."""
    lab.text = lab.text.replace("attempts = 20", "attempts = 3")

    def first(step):
        if step == "committed":
            lab.change(lambda _: None)

    means = delivery_lab.Means(render=lambda *_: (), at=first, sleep=lambda _: None)
    with pytest.raises(OutsideFault) as fault:
        lab.bump(1, means=means)
    assert fault.value.status == "race_lost"
    assert fault.value.facts["attempts"] == 3


def test_what_the_files_say_already_needs_no_commit(lab):
    """Somebody set the very images by hand; a commit would change nothing."""
    lab.bump(1)
    images = lab.release(1).images, lab.release(2).images

    def ahead(folder):
        for code, old in images[0].items():
            path = folder / f"environments/staging/{code}-service.yaml"
            path.write_text(path.read_text().replace(old.pin, images[1][code].pin))

    lab.change(ahead)
    before = lab.log()
    assert lab.bump(2).status == "already"
    assert lab.log() == before


def test_a_revert_by_hand_does_not_block_the_next_build(lab):
    """The file is the truth: what somebody reverted is delivered again by the next newer build."""
    lab.bump(1)
    lab.bump(2)
    old = lab.release(1).images["das"].pin

    def revert(folder):
        path = folder / "environments/staging/das-service.yaml"
        path.write_text(path.read_text().replace(lab.release(2).images["das"].pin, old))

    lab.change(revert)
    assert lab.bump(2).status == "already"  # the run itself is done: a revert is respected
    assert statuses(lab.bump(3))["das"] == "bumped"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param({"CHANGE_ID": "7"}, "pull request 7", id="pull request"),
        pytest.param({"BRANCH_NAME": "feature/x"}, "only 'main'", id="branch"),
        pytest.param({"BRANCH_NAME": ""}, "by hand", id="laptop"),
        pytest.param({"BUILD_NUMBER": ""}, "BUILD_NUMBER", id="no number"),
        pytest.param({"GIT_COMMIT": "f" * 40}, "the build server builds", id="other commit"),
    ],
)
def test_who_may_not_publish_is_refused_before_anything(lab, environ, said):
    """The rules of the Jenkinsfile hold here too."""
    context = lab.context(at=1, **environ)
    with pytest.raises(Refused, match=said):
        facts.publishing(context, lab.delivery(context))
    assert lab.server.requests == []


PULL_REQUEST = delivery_lab.REST.replace(
    'name = "staging"', 'name = "staging"\npull_request = true'
)
LINK = "https://git.example/manifests/pull/new/ci/staging"
TELLS = f"""#!/bin/sh
echo "Create a pull request for 'ci/staging' on GitHub by visiting:"
echo "     {LINK}"
"""
PROTECTED = """#!/bin/sh
[ "$1" != refs/heads/main ] || { echo "main is protected" >&2; exit 1; }
"""


@pytest.fixture
def protected(tmp_path):
    with delivery_lab.running(tmp_path, rest=PULL_REQUEST) as lab:
        lab.server.hook("manifests", "post-receive", TELLS)
        lab.server.hook("manifests", "update", PROTECTED)
        yield lab


def waiting(lab, form="%H"):
    """One line for each commit that waits on the branch of staging, newest first."""
    return delivery_lab.git(lab.bare, "log", f"--format={form}", "main..ci/staging").splitlines()


def merge(lab, *, squash=False):
    """Somebody merges the pull request, as a host does it."""
    tree = delivery_lab.git(lab.bare, "rev-parse", "ci/staging^{tree}").strip()
    sha = delivery_lab.git(lab.bare, "rev-parse", "ci/staging").strip()
    if squash:
        sha = delivery_lab.git(lab.bare, "commit-tree", "-p", "main", "-m", "squash", tree).strip()
    delivery_lab.git(lab.bare, "update-ref", "refs/heads/main", sha)


def test_a_protected_branch_gets_a_branch_to_merge_from(protected):
    """The delivery waits on a branch of its environment, and the host's link is told."""
    outcome = protected.bump(1)
    assert outcome.status == "bumped"
    assert outcome.facts["branch"] == "ci/staging"
    assert outcome.facts["link"] == LINK
    assert LINK in outcome.text
    assert len(protected.log()) == 1
    assert len(waiting(protected)) == 1


def test_a_delivery_that_waits_is_there_already_and_the_next_goes_on_from_it(protected):
    """The same run adds nothing; a later one of one service leaves the others as they wait."""
    protected.bump(1)
    assert protected.bump(1).status == "already"
    assert len(waiting(protected)) == 1
    protected.bump(2, codes=("das",))
    assert len(waiting(protected)) == 2
    tags = [protected.release(number).tag for number in (2, 1)]
    for code, tag in zip(("das", "dis"), tags, strict=True):
        path = f"ci/staging:environments/staging/{code}-service.yaml"
        assert tag in delivery_lab.git(protected.bare, "show", path)


@pytest.mark.parametrize("squash", [False, True])
def test_after_the_merge_the_branch_goes_on(protected, squash):
    """Merged or squashed: the branch is never forced and never in the way."""
    protected.bump(1)
    merge(protected, squash=squash)
    before = delivery_lab.git(protected.bare, "rev-parse", "ci/staging").strip()
    assert protected.bump(1).status == "already"
    assert protected.bump(2).status == "bumped"
    delivery_lab.git(protected.bare, "merge-base", "--is-ancestor", before, "ci/staging")
    merge(protected)
    assert protected.release(2).tag in protected.file("das")


def test_a_branch_that_waits_and_cannot_be_merged_is_said_to_be_so(protected):
    """Somebody changed the same line on main: nothing is forced over either."""
    protected.bump(1)
    (protected.bare / "hooks" / "update").unlink()

    def change(folder):
        path = folder / "environments" / "staging" / "das-service.yaml"
        path.write_text(path.read_text().replace("tag: '0'", "tag: '7'"))

    protected.change(change)
    with pytest.raises(Refused, match="merge or close it") as refused:
        protected.bump(2)
    assert refused.value.status == "conflict"
    assert len(waiting(protected)) == 1
