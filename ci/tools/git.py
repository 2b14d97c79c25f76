"""Git with nothing of the machine in it: own environment, no prompts, never forced.

A `PrivateClone` is made for one use and thrown away. Every call is a fixed argument list; what
comes from outside (an address, a branch, a message) is validated first or goes in by stdin.
Writing is done here; reading (history, blobs) by GitPython, of which only what takes no outside
text is used.

    refresh ─► edit ─► commit ─► push: the server's head is the commit's parent ─► landed
       ▲                              └ it is another one ─► lost race ─┐
       └────────────────────────────────────────────────────────────────┘
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import git as gitpython

from ci import process
from ci.errors import CiError, OutsideFault, Refused
from ci.model import COMMIT, ManifestCommit
from ci.process import Done
from ci.tools import git_environment, scratch
from ci.tools.git_address import check_branch, check_url, without_credentials
from ci.tools.git_answers import MEANINGS, REMOTE_SAID_NO, SAYING, Pushed, reasons, was_race
from ci.tools.git_environment import Account
from ci.tools.git_trailers import trailers_of
from ci.tools.source_repo import LOCAL_S, committed_at

NETWORK_S = 300.0
# Byte for byte: what the repository's own .gitattributes say of line ends, `$Id$` or encodings
# would change more of a file than the edit did, both on the way out and on the way in.
ATTRIBUTES = "* -text -ident -filter !working-tree-encoding !eol !diff\n"
EVERY = "refs/remotes/every/"  # where all branches are, for who asks for them


@dataclass
class PrivateClone:
    """A clone in a private temporary folder, of one branch, that only this process knows.

    folder: the working tree. home: what git takes for the person's folder. secrets: what no text of
    ours may hold. author: who commits. own: the branch that is pushed, where it is not `branch`.
    head: what it stands on; tip: where the pushed branch was on the server, None: nowhere.
    """

    folder: Path
    home: Path
    url: str
    branch: str
    environ: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    signing: bool
    author: tuple[str, str] = ("", "")
    own: str | None = None
    head: str = ""
    tip: str | None = None
    _read: tuple[str, list[ManifestCommit]] = ("", [])

    def run(
        self,
        *argv: str,
        network: bool = False,
        given: bytes = b"",
        extra: Mapping[str, str] | None = None,
    ) -> Done:
        """One git command in this clone; its output without secrets."""
        env = {**self.environ, **(self.credentials if network else {}), **(extra or {})}
        timeout_s = NETWORK_S if network else LOCAL_S
        done = process.run(
            ["git", *argv], cwd=self.folder, env=env, timeout_s=timeout_s, given=given
        )
        return Done(done.code, self._clean(done.stdout), self._clean(done.stderr))

    def must(self, *argv: str, given: bytes = b"", extra: Mapping[str, str] | None = None) -> str:
        """As `run`, of a local command that has no reason to fail."""
        done = self.run(*argv, given=given, extra=extra)
        if done.code != 0:
            raise OutsideFault(f"git {argv[0]}: {done.last_lines()}", status="git")
        return done.stdout

    def refresh(self) -> str:
        """Fetch, and stand on the branch, whatever stood here before; the new head.

        With a branch of our own, stand on that one with all that the branch has: what waits there
        for its pull request is what the next delivery goes on from. It is merged, never forced, so
        a pull request that was squashed does no harm.
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
                    self.head = self._merged(self.tip, base)
        self.discard()
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
        head = self.must("rev-parse", f"refs/remotes/origin/{branch}").strip()
        assert COMMIT.fullmatch(head)
        return head

    def _merged(self, ours: str, theirs: str) -> str:
        """A commit with both; `Refused` when they change the same lines in different ways."""
        self.must("checkout", "--quiet", "--force", "-B", "ci", ours)
        identity = ["-c", "user.name=ci", "-c", "user.email=ci@localhost.invalid"]
        message = f"Merge {self.branch} into {self.own}"
        done = self.run(*identity, "merge", "--quiet", "--no-gpg-sign", "-m", message, theirs)
        if done.code != 0:
            self.run("merge", "--abort")
            text = f"{self.own} on {self._shown} waits for its pull request, and {self.branch}"
            text += " changed the same lines meanwhile; merge or close it and delete the branch"
            raise Refused(text, status="conflict", branch=self.own)
        return self.must("rev-parse", "HEAD").strip()

    def discard(self) -> None:
        """The working tree is as the head is."""
        self.must("checkout", "--quiet", "--force", "-B", "ci", self.head)

    @property
    def pushed(self) -> str:
        """The branch that a push moves."""
        return self.own or self.branch

    def remote_head(self) -> str | None:
        """Where the pushed branch is on the server now; None when there is no such branch."""
        done = self.run(
            "ls-remote", "--quiet", "--end-of-options", "origin", f"refs/heads/{self.pushed}",
            network=True,
        )  # fmt: skip
        if done.code != 0:
            raise self._fault(done, "asking for the branch of")
        for line in done.stdout.splitlines():
            sha, _, name = line.partition("\t")
            if name == f"refs/heads/{self.pushed}" and COMMIT.fullmatch(sha):
                return sha
        return None

    def commit(self, message: str, paths: Sequence[str]) -> str:
        """A commit of exactly `paths`, or of none, signed when there is a key; its id."""
        name, email = self.author
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", email))
        }
        if paths:
            self.must("add", "--", *(f":(literal){path}" for path in paths))
        flags = [] if paths else ["--allow-empty"]
        flags += ["--gpg-sign"] if self.signing else ["--no-gpg-sign"]
        done = self.run(
            "commit", "--quiet", "--no-verify", "--cleanup=verbatim", "--file=-", *flags,
            given=message.encode(), extra=identity,
        )  # fmt: skip
        if done.code != 0:
            reason = "signing" if re.search(r"sign|load key|passphrase", done.text) else "git"
            raise OutsideFault(f"git commit: {done.last_lines()}", status=reason)
        names = self.must(
            "diff-tree", "--no-commit-id", "--name-only", "--no-renames", "-r", "-z", "HEAD"
        )
        touched = {each for each in names.split("\0") if each}
        assert touched == set(paths), f"the commit touches {touched}, meant were {paths}"
        return self.must("rev-parse", "HEAD").strip()

    def push(self) -> Pushed:
        """Offer HEAD to the server, whose branch is at `tip`; what it came to, by comparing heads.

        A head that moved, in whatever direction, is a lost race; so are the texts that servers send
        while another push holds the lock. All else was refused or failed. Also a branch that was
        set back is not pushed to: git alone would take our commit for a fast-forward of it.
        """
        ours, hooks = self.must("rev-parse", "HEAD").strip(), git_environment.hooks(self.home)
        done: Done | None = None
        try:
            done = self.run(
                "-c", f"core.hooksPath={hooks}", "push", "--quiet", "--porcelain",
                "--no-follow-tags", "--recurse-submodules=no", "--end-of-options", "origin",
                f"HEAD:refs/heads/{self.pushed}",
                network=True, extra={git_environment.EXPECTED_HEAD: self.tip or "0" * len(ours)},
            )  # fmt: skip
            fault: CiError = self._fault(done, "pushing to")
        except OutsideFault as overdue:
            fault = overdue
        said = done.text if done else str(fault)
        if done and done.code == 0:
            return Pushed(landed=True, said=said)
        now = self.remote_head()
        if now == ours:
            return Pushed(landed=True, said=said)  # it arrived, only the answer was lost
        if now != self.tip or was_race(said):
            return Pushed(landed=False, lost_race=True, said=said)
        if REMOTE_SAID_NO.search(said):
            text = f"{self._shown} refuses the commit (not a race: nobody moved {self.pushed}):\n"
            fault = Refused(text + reasons(said), status="policy")
        return Pushed(landed=False, error=fault, said=said)

    def diff(self) -> str:
        """What the working tree has that HEAD has not."""
        return self.must("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--")

    def contains(self, sha: str) -> bool:
        """Whether the commit `sha` is in the history of the head."""
        assert COMMIT.fullmatch(sha)
        return self.run("merge-base", "--is-ancestor", sha, self.head).code == 0

    def history(self) -> list[ManifestCommit]:
        """All commits of the branch, newest first, with their trailers.

        After a lost race only what is new is read: 20 000 commits take 2.7 s.
        """
        head, known = self._read
        if not head or not self.contains(head):
            head, known = "", []
        with contextlib.closing(gitpython.Repo(self.folder)) as repo:
            newer = [
                ManifestCommit(
                    sha=commit.hexsha,
                    at=committed_at(commit),
                    author=commit.author.name or "",
                    subject=str(commit.summary),
                    trailers=trailers_of(str(commit.message)),
                )
                for commit in repo.iter_commits(
                    f"{head}..{self.head}" if head else self.head, topo_order=True
                )
            ]
        self._read = (self.head, newer + known)
        return [*newer, *known]

    def contents(self) -> Iterator[bytes]:
        """What stands in the files of all branches that the server has, each content once."""
        done = self.run(
            "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
            "--end-of-options", "origin", f"+refs/heads/*:{EVERY}*", network=True,
        )  # fmt: skip
        if done.code != 0:
            raise self._fault(done, "fetching all branches of")
        heads = self.must("for-each-ref", "--format=%(objectname)", EVERY).split()
        seen: set[str] = set()
        with contextlib.closing(gitpython.Repo(self.folder)) as repo:
            for head in heads:
                for line in self.must("ls-tree", "-r", "-z", "--full-tree", head).split("\0"):
                    kind, blob = line.partition("\t")[0].split()[1:] if line else ("", "")
                    if kind == "blob" and blob not in seen:
                        seen.add(blob)
                        yield repo.odb.stream(bytes.fromhex(blob)).read()

    def entries(self) -> dict[str, str]:
        """Path → mode of all files of the head; links are 120000, submodules 160000."""
        with contextlib.closing(gitpython.Repo(self.folder)) as repo:
            return {str(path): f"{entry.mode:o}" for (path, _), entry in repo.index.entries.items()}

    @property
    def _shown(self) -> str:
        return without_credentials(self.url)

    def _clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "••••")
        return text

    def _fault(self, done: Done, doing: str) -> CiError:
        text = f"{doing} {self._shown}: "
        for status, pattern in MEANINGS:
            if pattern.search(done.text):
                return Refused(f"{text}{SAYING[status]}\n{done.last_lines(8)}", status=status)
        return OutsideFault(text + done.last_lines(), status="unreachable")

    def _no_branch(self) -> CiError:
        done = self.run("ls-remote", "--quiet", "--end-of-options", "origin", network=True)
        names = [line.partition("\t")[2] for line in done.stdout.splitlines()]
        heads = [name.removeprefix("refs/heads/") for name in names if "refs/heads/" in name]
        if not heads:
            text = f"{self._shown} is empty; `python -m ci scaffold` writes what it may begin with"
            return Refused(text, status="empty")
        text = f"{self._shown} has no branch {self.branch!r}; it has {', '.join(heads[:8])}"
        return Refused(text, status="no_branch")


@contextlib.contextmanager
def private_clone(
    url: str, branch: str, environ: Mapping[str, str], own: str | None = None
) -> Iterator[PrivateClone]:
    """A fresh clone of one branch, empty until its first `refresh`, gone after the block."""
    account = Account.of(environ)
    check_url(url, plain_http=account.plain_http)
    check_branch(branch)
    check_branch(own or branch)
    with scratch.folder("manifests") as kept:
        home, folder = kept / "home", kept / "clone"
        home.mkdir()
        folder.mkdir()
        clone = PrivateClone(
            folder=folder,
            home=home,
            url=url,
            branch=branch,
            own=own,
            environ=git_environment.isolated(environ, home, account, url),
            credentials=git_environment.credentials(home, account),
            secrets=[account.password] if account.password else [],
            signing=account.signing_key is not None,
        )
        clone.must("init", "--quiet", "--template=", ".")
        (folder / ".git" / "info").mkdir(exist_ok=True)
        (folder / ".git" / "info" / "attributes").write_text(ATTRIBUTES, encoding="ascii")
        clone.must("remote", "add", "--end-of-options", "origin", url)
        yield clone
