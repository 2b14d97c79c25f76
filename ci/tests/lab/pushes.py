"""Who pushes and who checks out, for the pipeline on this machine: a developer's clone, an agent's.

Both are clones of their own below the pipeline's folder; the checkout that `ci` runs in is only
fetched from, so nothing here can change it. A developer's password reaches git by GIT_ASKPASS.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci import process
from ci.errors import OutsideFault, UsageError
from ci.model import Service

ASKPASS = """\
#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$PIPELINE_USER" ;;
*) printf '%s\\n' "$PIPELINE_PASSWORD" ;;
esac
"""
BROKEN_TEST = '''\
"""Made by `ci local --break-test`; exists only in its own clone."""

import pytest


def test_broken_on_purpose():
    """The pipeline ends before anything is published."""
    pytest.fail("broken on purpose")
'''


@dataclass(frozen=True)
class Git:
    """git for one folder, with nobody's configuration and a name and a password of its own."""

    folder: Path
    user: str
    password: str = field(repr=False)

    def __call__(self, *argv: str | Path) -> str:
        """The output of a git command; `OutsideFault` when it fails."""
        done = process.run(["git", *argv], cwd=self.folder, env=self._environ(), timeout_s=300)
        if done.code != 0:
            raise OutsideFault(f"git {argv[0]} in {self.folder}: {done.last_lines()}")
        return done.stdout.strip()

    def holds(self, *argv: str) -> bool:
        """Whether a git command that answers by its exit code says yes."""
        return process.run(["git", *argv], cwd=self.folder, env=self._environ()).code == 0

    def _environ(self) -> dict[str, str]:
        askpass = self.folder.parent / "askpass"
        if not askpass.exists():
            askpass.write_text(ASKPASS)
            askpass.chmod(0o700)
        name, address = "Pipeline", "pipeline@cloudopshub.invalid"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": str(askpass),
            "LC_ALL": "C",
            "PIPELINE_USER": self.user,
            "PIPELINE_PASSWORD": self.password,
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": address,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": address,
        }


def _opened(folder: Path, user: str, password: str) -> Git:
    git = Git(folder, user, password)
    if not (folder / ".git").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--template=", "--initial-branch=main")
    return git


@dataclass(frozen=True)
class Developer:
    """The clone in which commits are made, one branch at a time."""

    git: Git

    @classmethod
    def at(cls, folder: Path, user: str, password: str) -> "Developer":
        """The clone in `folder`, made when it is not there."""
        return cls(_opened(folder, user, password))

    def follow(self, checkout: Path, branch: str) -> str:
        """`branch` stands here and holds what is committed in `checkout`; its head.

        Another branch than main leaves main where it was, so that it is a change to something.
        """
        self.git("fetch", "--quiet", "--no-tags", checkout, "HEAD")
        if not self.git.holds("rev-parse", "--quiet", "--verify", "refs/heads/main"):
            self.git("checkout", "--quiet", "-B", "main", "FETCH_HEAD")
        self.git("checkout", "--quiet", "--force", "main")
        if branch != "main":
            self.git("checkout", "--quiet", "-B", branch, "main")
        if not self.git.holds("merge-base", "--is-ancestor", "FETCH_HEAD", branch):
            try:
                self.git("merge", "--quiet", "-m", "what the checkout has", "FETCH_HEAD")
            except OutsideFault as fault:
                self.git("merge", "--abort")
                text = f"the checkout was rewritten; --fresh begins anew ({fault})"
                raise UsageError(text) from None
        return self.head

    @property
    def head(self) -> str:
        """The commit that stands here."""
        return self.git("rev-parse", "HEAD")

    def touch(self, service: Service, mark: str) -> None:
        """A commit that changes the service's image and nothing it does."""
        file = self.git.folder / service.folder / "Dockerfile"
        with file.open("a", encoding="utf-8") as appended:
            appended.write(f"# touched by `ci local`: {mark}\n")
        self._commit(service.folder, f"{service.code}: touched")

    def break_test(self, service: Service) -> None:
        """A commit with a test that fails."""
        folder = self.git.folder / service.folder / "tests" / "unit"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_broken_on_purpose.py").write_text(BROKEN_TEST, encoding="utf-8")
        self._commit(service.folder, f"{service.code}: a test that fails")

    def change_nothing(self) -> None:
        """A commit without a change."""
        self.git("commit", "--quiet", "--allow-empty", "-m", "nothing changed")

    def take_back(self, sha: str) -> None:
        """The branch stands at `sha` again, here."""
        self.git("reset", "--quiet", "--hard", sha)

    def push(self, url: str, ref: str) -> None:
        """What stands here is the server's `ref`; a branch of this folder's own server."""
        self.git("push", "--quiet", "--force", url, f"HEAD:{ref}")

    def _commit(self, path: str, message: str) -> None:
        self.git("add", "--", path)
        self.git("commit", "--quiet", "-m", message)


def check_out(folder: Path, url: str, ref: str, user: str, password: str) -> str:
    """The agent's workspace in `folder` holds `ref` of `url` with all its history; the commit.

    As Jenkins leaves it: detached, branches as origin's, files that git ignores kept from before.
    """
    git = _opened(folder, user, password)
    git(
        "fetch", "--quiet", "--force", url, "+refs/heads/*:refs/remotes/origin/*", f"+{ref}:refs/ci"
    )
    git("checkout", "--quiet", "--force", "--detach", "refs/ci")
    return git("rev-parse", "HEAD")


def seed(folder: Path, url: str, write: Callable[[Path], None], account: tuple[str, str]) -> str:
    """A repository with what `write` puts into `folder`, pushed to `url`; its head."""
    shutil.rmtree(folder, ignore_errors=True)
    git = _opened(folder, *account)
    write(folder)
    git("add", "--all")
    git("commit", "--quiet", "-m", "The manifests of CloudOpsHub, as `ci scaffold` writes them")
    git("push", "--quiet", url, "HEAD:refs/heads/main")
    return git("rev-parse", "HEAD")


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What an agent's environment has of this machine: programs, packages, engine; no secrets."""
    names = {
        *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHON", "XDG_CACHE_HOME"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "JAVA_HOME"),
    }
    starts = ("PIP_", "UV_", "DOCKER_", "BUILDKIT_")
    return {
        name: value for name, value in environ.items() if name in names or name.startswith(starts)
    }
