"""A plan is made from real commits: what staging runs, what was built, where a branch left."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from listed_services import configured
from plain_git import git

from ci import catalogue, config
from ci.context import Context, from_environment
from ci.model import Deployment, Hold, ImageRef, Ledger
from ci.plan import facts, planning
from ci.screen import Screen
from ci.tools.source_repo import SourceRepo

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
NOTHING = Ledger()


class Checkout:
    """A git repository with a ci.toml, and plans made in it."""

    def __init__(self, root):
        self.root = root
        self.git("init", "-q", "-b", "main")
        self.catalogue = replace(catalogue.load(), root=root)
        self.write("ci/ci.toml", configured(self.catalogue.services))
        for service in self.catalogue.services:
            self.write(f"{service.folder}/code.py", "1\n")

    def git(self, *words):
        return git(self.root, *words)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self, **files):
        for path, text in files.items():
            self.write(path.replace("__", "/"), text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")

    def plan(self, deployed=NOTHING, **environ):
        environ = {"BRANCH_NAME": "main", "BUILD_NUMBER": "7"} | environ
        context = Context(
            catalogue=self.catalogue,
            settings=from_environment(self.catalogue, {}),
            environ=environ,
            screen=Screen(stream=StringIO()),
        )
        delivery = config.load(self.catalogue, environ)
        repo = SourceRepo(self.root)
        return planning.decide(context, delivery, deployed, facts.gather(context), repo)


def running(commits, holds=()):
    """A ledger where staging runs each service as built from its commit."""
    image = ImageRef("registry.example.com/x", "1", "sha256:" + "0" * 64)
    return Ledger(
        deployments={
            ("staging", code): [
                Deployment(
                    "staging", code, image, commit, WHEN, "1", None, "run", "m" * 40, WHEN, "bump"
                )
            ]
            for code, commit in commits.items()
        },
        holds={("staging", code): Hold("staging", code, WHEN, "slow", "m" * 40) for code in holds},
    )


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


CODES = ["das", "dis", "aps", "ubs", "ui"]


def test_the_first_build_of_all_does_everything(checkout):
    """With nothing deployed and nothing built before, all is tested, linted and built."""
    checkout.commit()
    plan = checkout.plan()
    assert sorted(plan.builds) == sorted(CODES)
    assert sorted(plan.tests) == sorted([*CODES, "ci"])
    assert plan.lint == "all"
    assert plan.may_not_publish is None
    assert plan.tag == f"7-{plan.commit[:8]}"


def test_each_service_is_compared_with_what_staging_runs_of_it(checkout):
    """Services deployed from different commits have different bases."""
    first = checkout.commit()
    second = checkout.commit(**{"data-api-service__code.py": "2\n"})
    checkout.commit(**{"user-billing-service__code.py": "2\n"})
    plan = checkout.plan(running(dict.fromkeys(CODES, second)))
    assert plan.builds == ["ubs"]
    plan = checkout.plan(running(dict.fromkeys(CODES, second) | {"das": first}))
    assert plan.builds == ["das", "ubs"]


def test_a_push_that_changes_nothing_does_nothing(checkout):
    """An empty commit on top of what runs needs no test, no build and no lint."""
    deployed = checkout.commit()
    checkout.commit()
    plan = checkout.plan(running(dict.fromkeys(CODES, deployed)))
    assert (plan.tests, plan.builds, plan.lint) == ([], [], "none")


def test_without_manifests_the_last_successful_build_is_the_base(checkout):
    """A new installation, whose manifests tell nothing yet, does not build everything for ever."""
    before = checkout.commit()
    checkout.commit(**{"data-api-service__code.py": "2\n"})
    plan = checkout.plan(GIT_PREVIOUS_SUCCESSFUL_COMMIT=before)
    assert plan.builds == ["das"]


def test_a_base_that_is_not_in_the_clone_builds_everything(checkout):
    """A shallow clone, or a history that was rewritten, never hides a change."""
    checkout.commit()
    plan = checkout.plan(running(dict.fromkeys(CODES, "f" * 40)))
    assert sorted(plan.builds) == sorted(CODES)
    assert "shallow" in plan.chosen(["das"])[0].why[0]


def test_a_pull_request_is_compared_with_where_it_left_its_target(checkout):
    """What the target branch got since then is not the pull request's to test."""
    checkout.commit()
    checkout.git("checkout", "-q", "-b", "change")
    checkout.commit(**{"data-api-service__code.py": "2\n"})
    checkout.git("checkout", "-q", "main")
    checkout.commit(**{"user-billing-service__code.py": "2\n"})
    checkout.git("checkout", "-q", "change")
    plan = checkout.plan(BRANCH_NAME="PR-3", CHANGE_ID="3", CHANGE_TARGET="main")
    assert plan.builds == ["das"]
    assert "pull request 3" in plan.may_not_publish


def test_both_names_of_a_moved_file_count(checkout):
    """A file that moves from one service to another concerns both."""
    before = checkout.commit(**{"data-api-service__big.py": "x = 1\n" * 50})
    checkout.git("mv", "data-api-service/big.py", "data-ingest-service/big.py")
    checkout.commit()
    assert checkout.plan(running(dict.fromkeys(CODES, before))).builds == ["das", "dis"]


def test_a_held_service_says_so(checkout):
    """The plan tells that a rollback holds a service."""
    deployed = checkout.commit()
    plan = checkout.plan(running(dict.fromkeys(CODES, deployed), holds=["das"]))
    assert "slow" in plan.chosen(["das"])[0].why[-1]


def test_a_file_that_is_not_in_git_keeps_the_build_from_publishing(checkout):
    """What git does not know must not reach an image."""
    checkout.commit()
    checkout.write("data-api-service/left.py", "1\n")
    assert "git status" in checkout.plan().may_not_publish


def test_a_file_of_any_name_is_seen(checkout):
    """Also one whose name is no UTF-8; and what the checkout is configured with is not run."""
    checkout.commit()
    hook = checkout.root.parent / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {hook}.ran\n")
    hook.chmod(0o755)
    checkout.git("config", "core.fsmonitor", str(hook))
    assert checkout.plan().may_not_publish is None
    (checkout.root / os.fsdecode(b"\xfd\xfc.py")).write_text("1")
    assert "git status" in checkout.plan().may_not_publish
    assert not hook.with_name("hook.ran").exists()


def test_tests_seen_by_a_good_build_are_not_run_again(checkout):
    """A change of tests alone builds nothing, and is tested once."""
    deployed = checkout.commit()
    tested = checkout.commit(**{"data-api-service__tests__test_x.py": "2\n"})
    ledger = running(dict.fromkeys(CODES, deployed))
    assert checkout.plan(ledger).tests == ["das"]
    assert checkout.plan(ledger, GIT_PREVIOUS_SUCCESSFUL_COMMIT=tested).tests == []


def test_a_name_that_is_no_utf8_hides_no_change(checkout):
    """It comes first, and what comes after it is still seen; on a screen it steers nothing."""
    before = checkout.commit()
    odd = [b"aaa/\xff\xfe", b"data-api-service/a\n\x1b[31mb", "data-api-service/é".encode()]
    (checkout.root / "aaa").mkdir()
    for name in odd:
        (checkout.root / os.fsdecode(name)).write_text("1")
    checkout.commit(**{"user-billing-service__code.py": "2\n"})
    plan = checkout.plan(GIT_PREVIOUS_SUCCESSFUL_COMMIT=before)
    assert plan.builds == ["das", "ubs"]
    assert plan.chosen(["das"])[0].why[0].startswith("build: data-api-service/a??[31mb, ")
    planning.PLAN.dump_json(plan)


@pytest.mark.parametrize("target", ["main:x", "@{u}", "main@{9999}", "HEAD~99", "../../x", "-x"])
def test_a_target_that_is_no_branch_builds_everything(checkout, target):
    """A pull request names its target; what names nothing is nothing to compare with."""
    checkout.commit()
    plan = checkout.plan(CHANGE_ID="5", CHANGE_TARGET=target, BRANCH_NAME="PR-5")
    assert plan.builds == CODES
