"""Git by its command line, in a private clone: own environment, no prompts, never forced.

A `PrivateClone` is made for one use and thrown away. Every call is a fixed argument list; what
comes from outside (an address, a branch, a message) is validated first or goes in by stdin.

    refresh ─► edit ─► commit ─► push: the server's head is the commit's parent ─► landed
       ▲                              └ it is another one ─► lost race ─┐
       └────────────────────────────────────────────────────────────────┘
"""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ci import process
from ci.config import ManifestsConfig
from ci.errors import CiError, OutsideFault, Refused
from ci.model import COMMIT, ManifestCommit
from ci.process import Done
from ci.tools import git_rules as rules
from ci.tools.source_repo import LOCAL_S, utc

NETWORK_S = 300.0
PAUSES_S = (0.5, 2.0)  # between fetches that fail for reasons of the network
# Byte for byte: what the repository's own .gitattributes say of line ends, `$Id$` or encodings
# would change more of a file than the edit did, both on the way out and on the way in.
ATTRIBUTES = "* -text -ident -filter !working-tree-encoding !eol !diff\n"
LINK = "120000"


@dataclass(frozen=True)
class Pushed:
    """What a push came to: landed, or a lost race, or `error` says why."""

    landed: bool
    error: CiError | None = None
    said: str = ""

    @property
    def reason(self) -> str:
        """The one line in which the server said no."""
        lines = [line for line in self.said.splitlines() if line.startswith("!")] or [self.said]
        return lines[-1].replace("\t", " ").strip()[:200]

    @property
    def link(self) -> str | None:
        """The address that the server told, as hosts do where a pull request may be opened."""
        match = rules.PULL_REQUEST.search(self.said)
        return match[1] if match else None


class PrivateClone:
    """One branch of the manifest repository, in a private temporary folder.

    folder: the working tree. author: who commits. own: the branch that is pushed, where it is not
    the configured one. head: what it stands on; tip: where the pushed branch was, None: nowhere.
    """

    def __init__(
        self,
        kept: Path,
        config: ManifestsConfig,
        environ: Mapping[str, str],
        own: str | None,
        sleep: Callable[[float], None],
    ) -> None:
        plain_http = environ.get("MANIFEST_REPO_PLAIN_HTTP", "").lower() in {"1", "true", "yes"}
        self.url = rules.check_url(config.url, plain_http=plain_http)
        self.branch, self.own = rules.check_branch(config.branch), own and rules.check_branch(own)
        self._shown = rules.without_credentials(self.url)
        self.author = (config.author_name, config.author_email)
        self.folder, home = kept / "clone", kept / "home"
        self.head = ""
        self.tip: str | None = None
        self._read: tuple[str, list[ManifestCommit]] = ("", [])
        self._sleep = sleep
        self._key = rules.key_file(environ, "COMMIT_SIGNING_KEY")
        for folder in (self.folder, home):
            folder.mkdir()
        self.environ = rules.isolated(environ, home)
        self._credentials = rules.credentials(environ)
        self.must("init", "--quiet", "--template=", ".")
        info = self.folder / ".git" / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text(ATTRIBUTES, encoding="ascii")
        self.must("remote", "add", "--end-of-options", "origin", self.url)

    def run(
        self,
        *argv: str,
        network: bool = False,
        given: bytes = b"",
        extra: Mapping[str, str] | None = None,
    ) -> Done:
        """One git command in this clone; its output without the password."""
        env = {**self.environ, **(self._credentials if network else {}), **(extra or {})}
        most_s, words = NETWORK_S if network else LOCAL_S, ["git", *argv]
        done = process.run(words, cwd=self.folder, env=env, timeout_s=most_s, given=given)
        if secret := self._credentials.get("CI_GIT_PASSWORD"):
            texts = (text.replace(secret, "••••") for text in (done.stdout, done.stderr))
            return Done(done.code, *texts)
        return done

    def must(self, *argv: str) -> str:
        """As `run`, of a local command that has no reason to fail: what it answers."""
        return self.run(*argv).good(f"git {argv[0]}", status="git")

    def refresh(self) -> str:
        """Stand where the server stands, whatever was written or committed here; the new head."""
        for pause_s in PAUSES_S:
            with contextlib.suppress(OutsideFault):
                return self._refresh()
            self._sleep(pause_s)
        return self._refresh()

    def _refresh(self) -> str:
        """With a branch of our own: what waits there for its pull request, and all of the other.

        It is merged, never forced, so a pull request that was squashed does no harm.
        """
        base = self.tip = self._fetch(self.branch)
        if base is None:
            raise self._no_branch()
        self.head = base
        if self.own:
            self.tip = self._fetch(self.own)
            if self.tip and not self.contains(self.tip):
                self.head = self.tip
                if not self.contains(base):
                    self.head = self._merged(self.own, self.tip, base)
        self.discard()
        self._refuse_links_that_leave()
        return self.head

    def _fetch(self, branch: str) -> str | None:
        """Where the branch stands on the server, its commits fetched; None: there is none."""
        done = self.run(
            "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
            "--end-of-options", "origin", f"+refs/heads/{branch}:refs/remotes/origin/{branch}",
            network=True,
        )  # fmt: skip
        if done.code != 0:
            if "couldn't find remote ref" in done.stderr:
                return None
            raise self._fault(done, "fetching")
        return self.must("rev-parse", f"refs/remotes/origin/{branch}").strip()

    def _merged(self, own: str, ours: str, theirs: str) -> str:
        """A commit with both; `Refused` when they change the same lines in different ways."""
        self.must("checkout", "--quiet", "--force", "-B", "ci", ours)
        identity = ["-c", "user.name=ci", "-c", "user.email=ci@localhost.invalid"]
        message = f"Merge {self.branch} into {own}"
        done = self.run(*identity, "merge", "--quiet", "--no-gpg-sign", "-m", message, theirs)
        if done.code != 0:
            text = f"{own} on {self._shown} waits for its pull request, and {self.branch} changed"
            text += " the same lines meanwhile; merge or close it and delete the branch"
            raise Refused(text, status="conflict", branch=own)
        return self.must("rev-parse", "HEAD").strip()

    def discard(self) -> None:
        """The working tree is as the head is."""
        self.must("checkout", "--quiet", "--force", "-B", "ci", self.head)

    def read(self, path: str) -> bytes:
        """The bytes of a file; `Refused` when there is none, or it is a link or behind one."""
        return self._file(path).read_bytes()

    def write(self, edits: Mapping[str, bytes]) -> None:
        """The files hold these bytes; nothing is committed yet."""
        for path, content in edits.items():
            self._file(path).write_bytes(content)

    def _file(self, path: str) -> Path:
        parts = PurePosixPath(path)
        if parts.is_absolute() or not parts.parts or {"..", ".git"} & set(parts.parts):
            raise Refused(f"{path!r} is not a path within the manifest repository", status="path")
        file = self.folder / path
        if any(part.is_symlink() for part in [file, *file.parents][: len(parts.parts)]):
            raise Refused(f"{path} is a symbolic link, or behind one", status="symlink", file=path)
        if not file.is_file():
            raise Refused(f"{path} is not in the manifest repository", status="no_file", file=path)
        return file

    def _refuse_links_that_leave(self) -> None:
        """Helm follows links, so one that leaves the clone would show it files of this machine."""
        for entry in self.must("ls-files", "--stage", "-z").split("\0"):
            mode_and_blob, _, path = entry.partition("\t")
            if not mode_and_blob.startswith(LINK):
                continue
            leads = Path(os.path.realpath(self.folder / path))  # of an endless one: a link
            if leads.is_symlink() or not leads.is_relative_to(self.folder.resolve()):
                text = f"{path} is a symbolic link that leaves the repository, or itself"
                raise Refused(f"{text} ({leads})", status="symlink", file=path)

    def commit(self, message: str, paths: Sequence[str]) -> str:
        """A commit of exactly `paths`, or of none, signed when there is a key; its id."""
        names = zip(("NAME", "EMAIL"), self.author, strict=True)
        identity = {f"GIT_{who}_{k}": v for k, v in names for who in ("AUTHOR", "COMMITTER")}
        if paths:
            self.must("add", "--", *(f":(literal){path}" for path in paths))
        flags = [] if paths else ["--allow-empty"]
        flags.append(f"--gpg-sign={self._key}" if self._key else "--no-gpg-sign")
        done = self.run(
            "commit", "--quiet", "--no-verify", "--cleanup=verbatim", "--file=-", *flags,
            given=message.encode(), extra=identity,
        )  # fmt: skip
        is_key = re.search(r"sign|load key|passphrase", done.text)
        done.good("git commit", status="signing" if is_key else "git")
        listing = ("diff-tree", "--no-commit-id", "--name-only", "--no-renames", "-r", "-z", "HEAD")
        touched = set(self.must(*listing).split("\0")) - {""}
        assert touched == set(paths), f"the commit touches {touched}, meant were {paths}"
        return self.must("rev-parse", "HEAD").strip()

    def push(self) -> Pushed:
        """Offer HEAD to the server, whose branch is at `tip`; what it came to, by comparing heads.

        A head that moved, in whatever direction, is a lost race; so are the texts that servers send
        while another push holds the lock. All else was refused or failed. The lease forces nothing,
        for HEAD contains `tip`: it keeps git from taking our commit for a fast-forward of a branch
        that was set back.
        """
        ours, branch = self.must("rev-parse", "HEAD").strip(), self.own or self.branch
        ref = f"refs/heads/{branch}"
        assert self.tip is None or self.run("merge-base", "--is-ancestor", self.tip, ours).code == 0
        try:
            done = self.run(
                "push", "--quiet", "--porcelain", "--no-follow-tags", "--recurse-submodules=no",
                f"--force-with-lease={ref}:{self.tip or ''}", "--end-of-options", "origin",
                f"HEAD:{ref}", network=True,
            )  # fmt: skip
            if done.code == 0:
                return Pushed(landed=True, said=done.text)
            error, said = self._fault(done, "pushing to"), done.text
        except OutsideFault as overdue:
            error, said = overdue, str(overdue)
        try:
            now = self._heads().get(branch)
        except OutsideFault as fault:
            return Pushed(landed=False, error=fault, said=str(fault))
        if now == ours:
            return Pushed(landed=True, said=said)  # it arrived, only the answer was lost
        if now != self.tip or rules.was_race(said):
            return Pushed(landed=False, said=said)
        if rules.REMOTE_SAID_NO.search(said):
            text = f"{self._shown} refuses the commit (not a race: nobody moved {branch}):\n"
            error = Refused(text + rules.reasons(said), status="policy")
        return Pushed(landed=False, error=error, said=said)

    def _heads(self) -> dict[str, str]:
        """The branches that the server has now, and where each is."""
        listing = ("ls-remote", "--quiet", "--heads", "--end-of-options", "origin")
        done = self.run(*listing, network=True)
        if done.code != 0:
            raise self._fault(done, "asking for the branches of")
        rows = (line.split("\trefs/heads/", 1) for line in done.stdout.splitlines())
        return {name: sha for sha, name in rows}

    def diff(self) -> str:
        """What the working tree has that HEAD has not."""
        return self.must("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--")

    def contains(self, sha: str) -> bool:
        """Whether the commit `sha` is in the history of the head."""
        assert COMMIT.fullmatch(sha)
        return self.run("merge-base", "--is-ancestor", sha, self.head).code == 0

    def history(self) -> list[ManifestCommit]:
        """All commits of the branch, newest first; after a lost race only the new ones are read."""
        head, known = self._read
        if not head or not self.contains(head):
            head, known = "", []
        wanted = f"{head}..{self.head}" if head else self.head
        listed = self.must("log", "--topo-order", "-z", "--format=%H%n%ct%n%B", wanted)
        newer = []
        for entry in filter(None, listed.split("\0")):
            sha, at, message = entry.split("\n", 2)
            newer.append(ManifestCommit(sha, utc(at), rules.trailers_of(message)))
        self._read = (self.head, newer + known)
        return [*newer, *known]

    def _fault(self, done: Done, doing: str) -> CiError:
        text = f"{doing} {self._shown}: "
        if known_as := rules.meaning(done.text):
            status, words = known_as
            return Refused(f"{text}{words}\n{done.last_lines(8)}", status=status)
        return OutsideFault(text + done.last_lines(), status="unreachable")

    def _no_branch(self) -> CiError:
        heads = list(self._heads())
        if not heads:
            text = f"{self._shown} is empty; `python -m ci scaffold` writes what it may begin with"
            return Refused(text, status="empty")
        text = f"{self._shown} has no branch {self.branch!r}; it has {', '.join(heads[:8])}"
        return Refused(text, status="no_branch")


@contextlib.contextmanager
def checkout(
    config: ManifestsConfig,
    environ: Mapping[str, str],
    author: tuple[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    own_branch: str | None = None,
) -> Iterator[PrivateClone]:
    """A fresh private clone; author: who commits, the one in `ci.toml` when not said.

    own_branch: where commits go for a pull request; None: to the branch of `ci.toml` itself.
    """
    with tempfile.TemporaryDirectory(prefix=f"{process.PRIVATE}manifests-") as kept:
        repo = PrivateClone(Path(kept), config, environ, own_branch, sleep)
        repo.author = author or repo.author
        repo.refresh()
        yield repo
