"""Only a clean build of the main branch, by a build server, publishes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ci.errors import Refused
from ci.plan import facts as build_facts
from ci.plan.facts import BuildFacts

COMMIT = "1a2b3c4d" * 5
GOOD = BuildFacts(
    commit=COMMIT,
    committed_at=datetime(2026, 1, 2, tzinfo=UTC),
    dirty=False,
    branch="main",
    build="118",
    job="hub/main",
)


def read(**environ):
    return build_facts.read(environ, commit=COMMIT, committed_at=GOOD.committed_at, dirty=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"change": "7"}, "pull request 7", id="a pull request"),
        pytest.param({"tag_name": "main"}, "the tag 'main'", id="a tag called main"),
        pytest.param({"branch": "try-it"}, "'try-it'", id="another branch"),
        pytest.param({"branch": None}, "by hand", id="no build server"),
        pytest.param({"build": None}, "BUILD_NUMBER", id="no number"),
        pytest.param({"dirty": True}, "git status", id="a changed file"),
    ],
)
def test_who_may_not_publish(change, named):
    """Everything but a clean, numbered build of the main branch is refused, and told why."""
    assert build_facts.may_not_publish(GOOD, "main", COMMIT) is None
    assert named in build_facts.may_not_publish(replace(GOOD, **change), "main", COMMIT)


def test_a_pull_request_named_like_the_main_branch_stays_one():
    """The rule about pull requests does not depend on what the branch is called."""
    assert build_facts.may_not_publish(replace(GOOD, change="7"), "main", None)


def test_the_checkout_must_be_what_the_build_server_builds():
    """Another commit than GIT_COMMIT names is not published under its number."""
    assert "here is 1a2b3c4d" in build_facts.may_not_publish(GOOD, "main", "f" * 40)


def test_both_kinds_of_jobs_name_their_branch():
    """A multibranch job says BRANCH_NAME; a plain one GIT_BRANCH, with the remote before it."""
    assert read(BRANCH_NAME="main").branch == "main"
    assert read(GIT_BRANCH="origin/main").branch == "main"
    assert read(BRANCH_NAME="PR-7", CHANGE_ID="7", CHANGE_TARGET="main").change == "7"
    assert read().branch is None


def test_an_address_loses_its_credentials():
    """What goes into commit messages never holds a password; the user of ssh is part of it."""
    url = "https://me:secret@git.example.com:8443/hub.git"
    assert read(GIT_URL=url).source_repo == "https://git.example.com:8443/hub.git"
    assert read(GIT_URL="git@example.com:hub.git").source_repo == "git@example.com:hub.git"


def test_a_run_is_told_from_all_others_and_from_no_other():
    """The id is the same when a build is restarted, another for another job, number or commit."""
    ids = {
        GOOD.run_id,
        replace(GOOD, build="119").run_id,
        replace(GOOD, job="other/main").run_id,
        replace(GOOD, commit="f" * 40).run_id,
    }
    assert len(ids) == 4
    assert replace(GOOD, build_url="https://x").run_id == GOOD.run_id


@pytest.mark.parametrize(
    ("template", "made"),
    [
        pytest.param("{build}-{sha8}", "118-1a2b3c4d", id="the default"),
        pytest.param("{build}", "118", id="a bare number"),
        pytest.param("{branch}-{build}", "main-118", id="with the branch"),
    ],
)
def test_a_tag_is_made_by_template(template, made):
    """A tag is a string of the registry's alphabet, made as `ci.toml` says."""
    assert build_facts.tag(template, GOOD) == made


def test_a_tag_the_registry_would_not_take_is_refused():
    """A template that makes no tag is told before anything is built."""
    with pytest.raises(Refused, match="not an image tag"):
        build_facts.tag("{build}:{sha8}", GOOD)
    with pytest.raises(Refused, match="not an image tag"):
        build_facts.tag("{build}-{sha8}", replace(GOOD, build="7\nImage-das: x"))


@pytest.mark.parametrize(
    ("change", "is_main"),
    [
        ({}, True),
        ({"branch": None}, True),
        ({"branch": "try-it"}, False),
        ({"change": "7"}, False),
        ({"tag_name": "main"}, False),
    ],
)
def test_only_the_main_branch_is_compared_with_what_runs(change, is_main):
    """Elsewhere there are no credentials to ask with, also for a tag of that name."""
    assert replace(GOOD, **change).is_main("main") is is_main
