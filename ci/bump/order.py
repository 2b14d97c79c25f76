"""Which of two source commits is newer, and what a release may therefore do to a service: PURE.

Build numbers begin again at 1 when a job is made anew, and two builds may end in any order; only
the history of the source knows which commit holds the other.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ci.model import Deployment, Hold

FIRST, SAME, NEWER, OLDER, DIVERGED = "first", "same", "newer", "older", "diverged"


class History(Protocol):
    """The history of the source. A shallow one raises rather than guess."""

    def knows(self, commit: str) -> bool:
        """Whether that commit is in it."""

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; False where either is not known."""


@dataclass(frozen=True)
class Verdict:
    """What happens to one service. status: write, already, superseded, held or diverged."""

    code: str
    status: str
    text: str

    @property
    def writes(self) -> bool:
        """Whether the manifest gets the new image."""
        return self.status == "write"


def compare(
    ours: str, our_time: datetime | None, running: Deployment | None, history: History
) -> str:
    """How the commit `ours` stands to what runs: first, same, newer, older or diverged.

    A build that was overtaken may not have fetched what overtook it. A commit that is not here and
    was made later than ours is therefore taken to be newer: not writing is the safe side.
    """
    if running is None:
        return FIRST
    theirs = running.source_commit
    if ours == theirs:
        return SAME
    if history.is_ancestor(theirs, ours):
        return NEWER
    if history.is_ancestor(ours, theirs):
        return OLDER
    unknown = not history.knows(theirs)
    if unknown and our_time and running.committed_at and running.committed_at > our_time:
        return OLDER
    return DIVERGED


def decide(
    code: str,
    ours: str,
    our_time: datetime | None,
    *,
    running: Deployment | None,
    hold: Hold | None,
    history: History,
    diverged_too: bool = False,
) -> Verdict:
    """The verdict on a service that is to run an image built from `ours`, committed at `our_time`.

    diverged_too: a person said that the histories need not meet (the source was rewritten).
    """
    if hold:
        text = f"held since {hold.since:%Y-%m-%d %H:%M} UTC ({hold.reason}); `ci release {code}`"
        return Verdict(code, "held", text)
    order = compare(ours, our_time, running, history)
    if running is None or order == FIRST:
        return Verdict(code, "write", "its first delivery")
    there = f"{running.image.tag}, built from {running.source_commit[:12]}"
    if order == SAME:
        return Verdict(code, "already", f"already {there}")
    if order == OLDER:
        return Verdict(code, "superseded", f"{ours[:12]} is older than {there}")
    if order == DIVERGED and not diverged_too:
        where = "" if history.knows(running.source_commit) else ", which is not in this clone"
        text = f"{ours} is neither older nor newer than {running.source_commit}{where} ({there})"
        return Verdict(code, "diverged", text)
    return Verdict(code, "write", f"newer than {there}")
