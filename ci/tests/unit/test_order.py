"""Newer is what contains the older; all else is refused, named or left."""

from datetime import UTC, datetime, timedelta

import pytest

from ci.bump.handshake import decide
from ci.model import Deployment, Hold, ImageRef

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
LINE = ["1" * 40, "2" * 40, "3" * 40]
ASIDE, UNKNOWN = "a" * 40, "f" * 40


class Straight:
    """A history in which LINE is a line, ASIDE another branch, UNKNOWN not there."""

    is_shallow = False

    def knows(self, commit):
        return commit != UNKNOWN

    def is_ancestor(self, older, newer):
        if {older, newer} <= set(LINE):
            return LINE.index(older) <= LINE.index(newer)
        return older == newer


def running(commit, at=AT):
    image = ImageRef("r.example/cloudopshub-das", "7-x")
    return Deployment("staging", "das", image, commit, at, "7", None, "r", "0" * 40, AT, "bump")


def status(ours, there, **other):
    given = {"running": running(there) if there else None, "hold": None, "history": Straight()}
    return decide("das", ours, AT, **{**given, **other}).status


@pytest.mark.parametrize(
    ("ours", "there", "said"),
    [
        pytest.param(LINE[1], None, "write", id="first"),
        pytest.param(LINE[1], LINE[0], "write", id="newer"),
        pytest.param(LINE[1], LINE[1], "already", id="same"),
        pytest.param(LINE[1], LINE[2], "superseded", id="older"),
        pytest.param(LINE[1], ASIDE, "diverged", id="another branch"),
        pytest.param(LINE[1], UNKNOWN, "diverged", id="not here, not later"),
    ],
)
def test_commits_decide(ours, there, said):
    """Only the history of the source knows what is newer."""
    assert status(ours, there) == said


def test_a_later_commit_that_is_not_here_is_taken_to_be_newer():
    """A build that was overtaken may not have fetched what overtook it."""
    later = running(UNKNOWN, AT + timedelta(hours=1))
    assert status(LINE[1], None, running=later) == "superseded"


def test_a_later_commit_of_another_branch_that_is_here_is_no_newer():
    """What is here is known, so its time says nothing."""
    later = running(ASIDE, AT + timedelta(hours=1))
    assert status(LINE[1], None, running=later) == "diverged"


def test_a_person_may_say_that_histories_need_not_meet():
    """And then it is written."""
    assert status(LINE[1], ASIDE, diverged_too=True) == "write"


def test_a_hold_comes_before_all_else():
    """Not even a first delivery moves a held service."""
    hold = Hold("staging", "das", AT, "it leaks", "0" * 40)
    assert status(LINE[1], None, hold=hold) == "held"
    assert status(LINE[1], ASIDE, hold=hold) == "held"
