"""Which of two source commits is newer, and what a release may therefore do to a service: PURE.

Build numbers begin again at 1 when a job is made anew, and two builds may end in any order; only
the history of the source knows which commit holds the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ci.delivery.model import Deployment, Hold

IsAncestor = Callable[[str, str], bool]  # (older, newer): is the first within the second's history

SAME, NEWER, OLDER, DIVERGED, FIRST = "same", "newer", "older", "diverged", "first"


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


def compare(ours: str, deployed: str | None, is_ancestor: IsAncestor) -> str:
    """How the commit `ours` stands to what is deployed: first, same, newer, older or diverged."""
    if deployed is None:
        return FIRST
    if ours == deployed:
        return SAME
    if is_ancestor(deployed, ours):
        return NEWER
    if is_ancestor(ours, deployed):
        return OLDER
    return DIVERGED


def decide(
    code: str,
    ours: str,
    running: Deployment | None,
    hold: Hold | None,
    is_ancestor: IsAncestor,
    *,
    diverged_too: bool = False,
) -> Verdict:
    """The verdict on a service that is to run an image built from `ours`.

    diverged_too: a person said that the histories need not meet (the source was rewritten).
    """
    if hold:
        text = f"held since {hold.since:%Y-%m-%d %H:%M} UTC ({hold.reason}); `ci release {code}`"
        return Verdict(code, "held", text)
    order = compare(ours, running.source_commit if running else None, is_ancestor)
    if running is None or order == FIRST:
        return Verdict(code, "write", "its first delivery")
    there = f"{running.image.tag}, built from {running.source_commit[:12]}"
    if order == SAME:
        return Verdict(code, "already", f"already {there}")
    if order == OLDER:
        return Verdict(code, "superseded", f"{ours[:12]} is older than {there}")
    if order == DIVERGED and not diverged_too:
        text = f"{ours} is neither older nor newer than {running.source_commit} ({there})"
        return Verdict(code, "diverged", text)
    return Verdict(code, "write", f"newer than {there}")
