"""The repository that is built, read through GitPython; nothing here writes or fetches.

Which paths differ is asked of git itself: GitPython ends its list at the first name that is not
UTF-8, and says nothing.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import git
from git.exc import BadName, BadObject, GitError, InvalidGitRepositoryError, NoSuchPathError

from ci import process
from ci.errors import OutsideFault
from ci.model import COMMIT

# what GitPython says of a commit that is not there, or of a name that cannot be one
UNKNOWN = (BadName, BadObject, ValueError, KeyError, IndexError, GitError)
CHANGED = re.compile(r"[ MADRCUT?]{2} ")  # how an entry of `git status --porcelain` begins
LOCAL_S = 60.0  # a git command that speaks with no server


def committed_at(commit: git.Commit) -> datetime:
    """When the commit was made, in UTC; 1970 where it claims a year that no calendar has."""
    try:
        return commit.committed_datetime.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


class SourceRepo:
    """The checkout at `root`, at the commit it stands at now."""

    def __init__(self, root: Path) -> None:
        try:
            self._repo = git.Repo(root)
            self._head = self._repo.head.commit
        except (InvalidGitRepositoryError, NoSuchPathError, *UNKNOWN) as exc:
            raise OutsideFault(f"{root} is no git checkout with a commit: {exc}") from exc

    @property
    def commit(self) -> str:
        """The commit that is checked out."""
        return self._head.hexsha

    @property
    def committed_at(self) -> datetime:
        """When it was committed, in UTC."""
        return committed_at(self._head)

    @property
    def is_dirty(self) -> bool:
        """Whether a file differs from the commit, or is neither in git nor ignored."""
        listed = self._git("status", "--porcelain", "-z", "--untracked-files=normal")
        return any(CHANGED.match(entry) for entry in listed.split("\0"))

    def knows(self, commit: str) -> bool:
        """Whether that commit (a full hash) is in this clone; a shallow one may lack it."""
        if not COMMIT.fullmatch(commit):
            return False
        try:
            self._repo.commit(commit)
        except UNKNOWN:
            return False
        return True

    def subject(self, commit: str) -> str | None:
        """The first line of the commit's message; None when the commit is not here."""
        return str(self._repo.commit(commit).summary) if self.knows(commit) else None

    def changed_since(self, commit: str) -> list[str] | None:
        """Paths that differ between `commit` and the checkout's, both names of a renamed file.

        None when `commit` is not here. A name that is not UTF-8 has � in it.
        """
        if not self.knows(commit):
            return None
        listed = self._git(
            "diff-tree", "-r", "-z", "--name-only", "--no-renames", commit, self.commit
        )
        return sorted({path for path in listed.split("\0") if path})

    def _git(self, *argv: str) -> str:
        """What git says itself; nothing that the checkout is configured with is run for it."""
        quiet = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"]
        done = process.run(
            ["git", "--no-optional-locks", *quiet, *argv],
            cwd=Path(self._repo.working_dir),
            timeout_s=LOCAL_S,
        )
        if done.code != 0:
            raise OutsideFault(f"git {argv[0]}: {done.last_lines()}")
        return done.stdout

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; both must be known."""
        return self._repo.is_ancestor(self._repo.commit(older), self._repo.commit(newer))

    def commits_between(self, older: str, newer: str) -> int:
        """How many commits `newer` has that `older` has not; both must be known."""
        return sum(1 for _ in self._repo.iter_commits(f"{older}..{newer}"))

    def branched_off(self, branch: str) -> str | None:
        """Where the checkout left `branch`, as the remote or this clone has it; None: unknown."""
        for name in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            try:
                bases = self._repo.merge_base(self._repo.commit(name), self._head)
            except UNKNOWN:
                continue
            if bases and bases[0] is not None:
                return bases[0].hexsha
        return None


def is_shallow(root: Path) -> bool:
    """Whether the history of the checkout at `root` was cut off when it was cloned."""
    done = process.run(["git", "rev-parse", "--is-shallow-repository"], cwd=root, timeout_s=LOCAL_S)
    return done.stdout.strip() == "true"


def person(root: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and address of who works in the checkout at `root`; None when git was not told."""
    names = []
    for key in ("user.name", "user.email"):
        named = environ.get(f"GIT_AUTHOR_{key.partition('.')[2].upper()}")
        done = process.run(["git", "config", "--get", key], cwd=root, timeout_s=LOCAL_S)
        names.append(named or (done.stdout.strip() if done.code == 0 else ""))
    name, email = names
    return (name, email) if name and email else None
