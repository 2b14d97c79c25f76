"""The repository that is built, asked of git itself; nothing here writes or fetches."""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from ci import process
from ci.model import COMMIT
from ci.process import Done

LOCAL_S = 60.0  # a git command that speaks with no server
CHANGED = re.compile(r"[ MADRCUT?]{2} ")  # how an entry of `git status --porcelain` begins
# nothing that the checkout is configured with is run for an answer
QUIET = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def utc(seconds: str) -> datetime:
    """That many seconds after 1970, in UTC; 1970 for a time that no calendar has."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


class SourceRepo:
    """The checkout at `root`, at the commit it stands at now."""

    def __init__(self, root: Path) -> None:
        self._root = root
        done = self._run("log", "-1", "--format=%H %ct", "HEAD", "--")
        said = done.good(f"{root} is no git checkout with a commit")
        self.commit, _, at = said.strip().partition(" ")
        self.committed_at = utc(at)

    @property
    def is_dirty(self) -> bool:
        """Whether a file differs from the commit, or is neither in git nor ignored."""
        listed = self._git("status", "--porcelain", "-z", "--untracked-files=normal")
        return any(CHANGED.match(entry) for entry in listed.split("\0"))

    @cached_property
    def is_shallow(self) -> bool:
        """Whether the history was cut off when it was cloned."""
        return self._git("rev-parse", "--is-shallow-repository").strip() == "true"

    def knows(self, commit: str) -> bool:
        """Whether that commit (a full hash) is in this clone; a shallow one may lack it."""
        is_hash = COMMIT.fullmatch(commit) is not None
        return is_hash and self._run("cat-file", "-e", f"{commit}^{{commit}}").code == 0

    def subject(self, commit: str) -> str:
        """The first line of the message of a commit that is known."""
        return self._git("log", "-1", "--format=%s", commit, "--").strip()

    def changed_since(self, commit: str) -> list[str] | None:
        """Paths that differ since `commit`, both names of a renamed file; None: it is not here."""
        if not self.knows(commit):
            return None
        names = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", commit, self.commit)
        return sorted(set(self._git(*names).split("\0")) - {""})

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; False where either is not known, or history is cut."""
        are_here = self.knows(older) and self.knows(newer)
        return are_here and self._run("merge-base", "--is-ancestor", older, newer).code == 0

    def commits_between(self, older: str, newer: str) -> int:
        """How many commits `newer` has that `older` has not; both must be known."""
        return int(self._git("rev-list", "--count", f"{older}..{newer}"))

    def branched_off(self, branch: str) -> str | None:
        """Where the checkout left `branch`, as the remote or this clone has it; None: unknown."""
        for name in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            if self._run("check-ref-format", name).code == 0:
                done = self._run("merge-base", name, self.commit)
                if done.code == 0:
                    return done.stdout.strip()
        return None

    def person(self, environ: Mapping[str, str]) -> tuple[str, str] | None:
        """Name and address of who works in the checkout; None when git was not told."""
        names = []
        for key in ("name", "email"):
            done = self._run("config", "--get", f"user.{key}")
            names.append(environ.get(f"GIT_AUTHOR_{key.upper()}") or done.stdout.strip())
        name, email = names
        return (name, email) if name and email else None

    def _run(self, *argv: str) -> Done:
        return process.run(["git", *QUIET, *argv], cwd=self._root, timeout_s=LOCAL_S)

    def _git(self, *argv: str) -> str:
        return self._run(*argv).good(f"git {argv[0]}")
