"""Which of two source commits is newer, and what a release may therefore do to a service: PURE.

Build numbers begin again when a job is made anew; only the history knows which commit is newer.
"""

from dataclasses import dataclass
from datetime import datetime

from ci.errors import Refused
from ci.model import Deployment, Hold
from ci.tools.source_repo import SourceRepo


@dataclass(frozen=True)
class Verdict:
    """What happens to one service. status: write, already, superseded, held, diverged, nothing."""

    code: str
    status: str
    text: str

    @property
    def writes(self) -> bool:
        """Whether the manifest gets the new image."""
        return self.status == "write"


def decide(
    code: str,
    ours: str,
    our_time: datetime | None,
    *,
    running: Deployment | None,
    hold: Hold | None,
    history: SourceRepo,
    diverged_too: bool = False,
) -> Verdict:
    """The verdict on a service that is to run an image built from `ours`, committed at `our_time`.

    diverged_too: a person said that the histories need not meet (the source was rewritten).
    """
    if hold:
        text = f"held since {hold.since:%Y-%m-%d %H:%M} UTC ({hold.reason}); `ci release {code}`"
        return Verdict(code, "held", text)
    if running is None:
        return Verdict(code, "write", "its first delivery")
    theirs = running.source_commit
    there = f"{running.image.tag}, built from {theirs[:12]}"
    if ours == theirs:
        return Verdict(code, "already", f"already {there}")
    if history.is_ancestor(theirs, ours):
        return Verdict(code, "write", f"newer than {there}")
    is_older = history.is_ancestor(ours, theirs)
    if history.is_shallow and not is_older:
        text = f"this clone is shallow and cannot tell whether {ours[:12]} follows {theirs[:12]};"
        text += " fetch the full history (`git fetch --unshallow`; in Jenkins: no shallow clone)"
        raise Refused(text, status="shallow", older=theirs, newer=ours)
    is_here = history.knows(theirs)
    # who was overtaken may not have fetched by what: not writing is the safe side
    if not is_here and our_time and running.committed_at and running.committed_at > our_time:
        is_older = True
    if is_older:
        return Verdict(code, "superseded", f"{ours[:12]} is older than {there}")
    where = "" if is_here else ", which is not in this clone"
    text = f"{ours} is neither older nor newer than {theirs}{where} ({there})"
    return Verdict(code, "write" if diverged_too else "diverged", text)
