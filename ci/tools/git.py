"""Git with nothing of the machine in it: own environment, no hooks, no prompts, never forced.

A `PrivateClone` is made for one use and thrown away. Every call is a fixed argument list; what
comes from outside (an address, a branch, a message) is validated first or goes in by stdin.
Credentials live in the environment of the one git process that speaks with the server; they reach
it through a GIT_ASKPASS script that holds none, or as the path of an SSH key. Writing is done here;
reading (history, blobs) by GitPython, of which only what takes no outside text is used.
"""

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import git as gitpython

from ci import process
from ci.delivery.build_facts import without_credentials
from ci.delivery.ledger import trailers_of
from ci.delivery.model import COMMIT, ManifestCommit
from ci.errors import CiError, OutsideFault, Refused
from ci.process import Done
from ci.tools.source_repo import committed_at

LOCAL_S, NETWORK_S = 60.0, 300.0
PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
CONFIG = (
    ("protocol.allow", "never"),
    ("protocol.file.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("credential.helper", ""),
    ("http.followRedirects", "false"),  # a password goes where it was meant to go, or nowhere
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "30"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("advice.detachedHead", "false"),
)
ASKPASS = """\
#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$CI_GIT_USER" ;;
*) printf '%s\\n' "$CI_GIT_PASSWORD" ;;
esac
"""
# Byte for byte: what the repository's own .gitattributes say of line ends, `$Id$` or encodings
# would change more of a file than the edit did, both on the way out and on the way in.
ATTRIBUTES = "* -text -ident -filter !working-tree-encoding !eol !diff\n"
EVERY = "refs/remotes/every/"  # where all branches are, for who asks for them
LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|::1")
SCP_LIKE = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^:\s]+")
BRANCH = re.compile(r"(?![/.-])(?!.*(//|\.\.|@\{|/\.|\.lock(/|$)))[A-Za-z0-9._/+@#=-]+(?<![./])")

# What the server's or ssh's text means; the first that is found decides.
MEANINGS = (
    ("host_key", re.compile(r"host key verification failed|known_hosts", re.IGNORECASE)),
    (
        "credentials",
        re.compile(
            r"authentication failed|returned error: 40[13]|could not read (username|password)"
            r"|permission denied|access denied|invalid (username|credentials)|load key|publickey",
            re.IGNORECASE,
        ),
    ),
    ("moved", re.compile(r"returned error: 30\d|url base from redirection", re.IGNORECASE)),
    (
        "not_found",
        re.compile(
            r"returned error: 4(04|10)|not found|not appear to be a git|no such repo", re.IGNORECASE
        ),
    ),
)
SAYING = {
    "host_key": "the server's host key is not the one in MANIFEST_REPO_KNOWN_HOSTS",
    "credentials": "the server does not accept the credentials"
    " (MANIFEST_REPO_USR and MANIFEST_REPO_PSW, or MANIFEST_REPO_SSH_KEY)",
    "moved": "the repository has moved; credentials are not sent after it:"
    " set MANIFEST_REPO_URL to its new address",
    "not_found": "no repository is there, or not for these credentials; check MANIFEST_REPO_URL",
}
LOST_RACE = re.compile(
    r"fetch first|non-fast-forward|failed to (update|lock)|cannot lock ref|unable to (create|lock)"
    r"|incorrect old value|stale info|remote ref updated|reference already exists",
    re.IGNORECASE,
)
REMOTE_SAID_NO = re.compile(r"\[remote rejected\]|hook declined|protected branch", re.IGNORECASE)


@dataclass(frozen=True)
class Account:
    """As whom git speaks with the server, and with which key commits are signed."""

    user: str = ""
    password: str = field(default="", repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    agent: str | None = None
    signing_key: Path | None = None
    plain_http: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Account":
        """The account that the environment describes; a key file that is not there is refused."""

        def file(name: str) -> Path | None:
            if not environ.get(name):
                return None
            path = Path(environ[name]).expanduser().absolute()
            if not path.is_file():
                raise Refused(f"{name}={path} is no file", status="credentials")
            return path

        return cls(
            user=environ.get("MANIFEST_REPO_USR", ""),
            password=environ.get("MANIFEST_REPO_PSW", ""),
            ssh_key=file("MANIFEST_REPO_SSH_KEY"),
            known_hosts=file("MANIFEST_REPO_KNOWN_HOSTS"),
            agent=environ.get("SSH_AUTH_SOCK") or None,
            signing_key=file("COMMIT_SIGNING_KEY"),
            plain_http=environ.get("MANIFEST_REPO_PLAIN_HTTP", "").lower() in {"1", "true", "yes"},
        )


@dataclass(frozen=True)
class Pushed:
    """What a push came to. landed, lost_race, or neither: then `error` says why."""

    landed: bool
    lost_race: bool = False
    error: CiError | None = None
    said: str = ""


def check_url(url: str, *, plain_http: bool = False) -> str:
    """`url`, when it is an address git may be given; `Refused` says what is wrong with it."""
    if not url:
        raise Refused(
            "no manifest repository is known: set MANIFEST_REPO_URL, or url under [manifests] in"
            " ci/ci.toml",
            status="unconfigured",
        )
    if SCP_LIKE.fullmatch(url) and not url.startswith("-"):
        return url
    try:
        parts = urlsplit(url)
        is_torn = parts.port == 0
    except ValueError:  # a `/` in a password ends the host, and what is left of it is no port
        parts, is_torn = urlsplit(""), True
    web = parts.scheme in {"http", "https"}
    faults = (
        (url.startswith("-"), "it looks like an option"),
        (is_torn, "its host or its port is none"),
        (re.search(r"[\x00-\x20\x7f]", url), "it holds blanks or control characters"),
        (
            "::" in url.split("/", 1)[0],
            "it names a transport helper (`ext::` and its like run programs)",
        ),
        (
            parts.scheme not in {"https", "http", "ssh", "file"},
            "only https://, ssh://, file:// and user@host:path are spoken",
        ),
        (
            (web and "@" in parts.netloc) or parts.password,
            "it holds credentials; they belong into MANIFEST_REPO_USR and MANIFEST_REPO_PSW",
        ),
        (
            parts.scheme != "file" and (not parts.hostname or parts.hostname.startswith("-")),
            "it has no host",
        ),
        (
            parts.scheme == "http"
            and not plain_http
            and not LOOPBACK.fullmatch(parts.hostname or ""),
            "it sends the password in clear; use https://, or MANIFEST_REPO_PLAIN_HTTP=true",
        ),
    )
    for is_so, why in faults:
        if is_so:
            # all before the last `@` may be a password, whatever it holds
            shown = re.sub(r"//.*@", "//", url, flags=re.DOTALL)
            raise Refused(f"{shown!r} is not used as an address: {why}", status="address")
    return url


def check_branch(name: str) -> str:
    """`name`, when it can be nothing but a branch."""
    if not BRANCH.fullmatch(name):
        raise Refused(f"{name!r} is not used as a branch name", status="branch")
    return name


def was_race(said: str) -> bool:
    """Whether git's own verdict on a push, not the words of a hook, tells of another push."""
    return any(line.startswith("!") and LOST_RACE.search(line) for line in said.splitlines())


@dataclass
class PrivateClone:
    """A clone in a private temporary folder, of one branch, that only this process knows.

    folder: the working tree. secrets: what no text of ours may hold. head: what it stands on.
    """

    folder: Path
    url: str
    branch: str
    environ: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    signing: bool
    head: str = ""
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
        return Done(done.code, self._clean(done.output))

    def must(self, *argv: str, given: bytes = b"", extra: Mapping[str, str] | None = None) -> str:
        """As `run`, of a local command that has no reason to fail."""
        done = self.run(*argv, given=given, extra=extra)
        if done.code != 0:
            raise OutsideFault(f"git {argv[0]}: {done.last_lines()}", status="git")
        return done.output

    def refresh(self) -> str:
        """Fetch the branch and stand on it, whatever stood here before; the new head."""
        refspec = f"+refs/heads/{self.branch}:refs/remotes/origin/{self.branch}"
        done = self.run(
            "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
            "--end-of-options", "origin", refspec, network=True,
        )  # fmt: skip
        if done.code != 0:
            if "couldn't find remote ref" in done.output:
                raise self._no_branch()
            raise self._fault(done, "fetching")
        self.head = self.must("rev-parse", f"refs/remotes/origin/{self.branch}").strip()
        assert COMMIT.fullmatch(self.head)
        self.discard()
        return self.head

    def discard(self) -> None:
        """The working tree is as the head is."""
        self.must("checkout", "--quiet", "--force", "-B", "ci", self.head)

    def remote_head(self) -> str | None:
        """What the server says the branch is at now; None when it has no such branch."""
        done = self.run(
            "ls-remote", "--quiet", "--end-of-options", "origin", f"refs/heads/{self.branch}",
            network=True,
        )  # fmt: skip
        if done.code != 0:
            raise self._fault(done, "asking for the branch of")
        for line in done.output.splitlines():
            sha, _, name = line.partition("\t")
            if name == f"refs/heads/{self.branch}" and COMMIT.fullmatch(sha):
                return sha
        return None

    def commit(
        self, message: str, paths: Sequence[str], author: tuple[str, str], *, empty: bool = False
    ) -> str:
        """A commit of exactly `paths`, signed when there is a key; its id."""
        name, email = author
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", email))
        }
        if paths:
            self.must("add", "--", *(f":(literal){path}" for path in paths))
        flags = ["--allow-empty"] if empty else []
        flags += ["--gpg-sign"] if self.signing else ["--no-gpg-sign"]
        done = self.run(
            "commit", "--quiet", "--no-verify", "--cleanup=verbatim", "--file=-", *flags,
            given=message.encode(), extra=identity,
        )  # fmt: skip
        if done.code != 0:
            reason = "signing" if re.search(r"sign|load key|passphrase", done.output) else "git"
            raise OutsideFault(f"git commit: {done.last_lines()}", status=reason)
        names = self.must(
            "diff-tree", "--no-commit-id", "--name-only", "--no-renames", "-r", "-z", "HEAD"
        )
        touched = {each for each in names.split("\0") if each}
        assert touched == set(paths), f"the commit touches {touched}, meant were {paths}"
        return self.must("rev-parse", "HEAD").strip()

    def push(self, expected: str) -> Pushed:
        """Offer HEAD, the child of `expected`, to the server; what it came to, by comparing heads.

        A head that moved, in whatever direction, is a lost race; so are the texts that servers send
        while another push holds the lock. All else was refused or failed.
        """
        if self.remote_head() != expected:
            return Pushed(landed=False, lost_race=True, said="the branch moved before the push")
        ours = self.must("rev-parse", "HEAD").strip()
        done: Done | None = None
        try:
            done = self.run(
                "push", "--quiet", "--porcelain", "--no-verify", "--no-follow-tags",
                "--recurse-submodules=no", "--end-of-options", "origin",
                f"HEAD:refs/heads/{self.branch}", network=True,
            )  # fmt: skip
            fault: CiError = self._fault(done, "pushing to")
        except OutsideFault as overdue:
            fault = overdue
        said = done.output if done else str(fault)
        if done and done.code == 0:
            return Pushed(landed=True, said=said)
        now = self.remote_head()
        if now == ours:
            return Pushed(landed=True, said=said)  # it arrived, only the answer was lost
        if now != expected or was_race(said):
            return Pushed(landed=False, lost_race=True, said=said)
        if REMOTE_SAID_NO.search(said):
            text = f"{self._shown} refuses the commit (not a race: nobody moved {self.branch}):\n"
            fault = Refused(text + _reasons(said), status="policy")
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
            if pattern.search(done.output):
                return Refused(f"{text}{SAYING[status]}\n{done.last_lines(8)}", status=status)
        return OutsideFault(text + done.last_lines(), status="unreachable")

    def _no_branch(self) -> CiError:
        done = self.run("ls-remote", "--quiet", "--end-of-options", "origin", network=True)
        names = [line.partition("\t")[2] for line in done.output.splitlines()]
        heads = [name.removeprefix("refs/heads/") for name in names if "refs/heads/" in name]
        if not heads:
            text = f"{self._shown} is empty; `python -m ci scaffold` writes what it may begin with"
            return Refused(text, status="empty")
        text = f"{self._shown} has no branch {self.branch!r}; it has {', '.join(heads[:8])}"
        return Refused(text, status="no_branch")


@contextlib.contextmanager
def private_clone(url: str, branch: str, environ: Mapping[str, str]) -> Iterator[PrivateClone]:
    """A fresh clone of one branch, empty until its first `refresh`, gone after the block."""
    account = Account.of(environ)
    check_url(url, plain_http=account.plain_http)
    check_branch(branch)
    with tempfile.TemporaryDirectory(prefix="ci-manifests-", ignore_cleanup_errors=True) as kept:
        home, folder = Path(kept) / "home", Path(kept) / "clone"
        home.mkdir()
        folder.mkdir()
        clone = PrivateClone(
            folder=folder,
            url=url,
            branch=branch,
            environ=_environment(environ, home, account, url),
            credentials=_credentials(home, account),
            secrets=[account.password] if account.password else [],
            signing=account.signing_key is not None,
        )
        clone.must("init", "--quiet", "--template=", ".")
        (folder / ".git" / "info").mkdir(exist_ok=True)
        (folder / ".git" / "info" / "attributes").write_text(ATTRIBUTES, encoding="ascii")
        clone.must("remote", "add", "--end-of-options", "origin", url)
        yield clone


def is_shallow(root: Path) -> bool:
    """Whether the history of the checkout at `root` was cut off when it was cloned."""
    done = process.run(["git", "rev-parse", "--is-shallow-repository"], cwd=root, timeout_s=LOCAL_S)
    return done.output.strip() == "true"


def person(root: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and address of who works in the checkout at `root`; None when git was not told."""
    found = []
    for key in ("user.name", "user.email"):
        named = environ.get(f"GIT_AUTHOR_{key.partition('.')[2].upper()}")
        done = process.run(["git", "config", "--get", key], cwd=root, timeout_s=LOCAL_S)
        found.append(named or (done.output.strip() if done.code == 0 else ""))
    name, email = found
    return (name, email) if name and email else None


def _environment(
    environ: Mapping[str, str], home: Path, account: Account, url: str
) -> dict[str, str]:
    """All that git sees: nothing of the machine's or the person's configuration, no secret."""
    config = [*CONFIG]
    if urlsplit(url).scheme == "http":
        config.append(("protocol.http.allow", "always"))
    if account.signing_key:
        config += [("gpg.format", "ssh"), ("user.signingKey", str(account.signing_key))]
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **{name: environ[name] for name in PASSED_ON if name in environ},
        **numbered,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",  # a key with a passphrase fails at once instead of asking
        "SSH_ASKPASS_REQUIRE": "force",
        "LC_ALL": "C",
        "GIT_SSH_VARIANT": "ssh",
        "GIT_SSH_COMMAND": _ssh_command(environ, account),
    }


def _credentials(home: Path, account: Account) -> dict[str, str]:
    """What only a call that speaks with the server gets beside that."""
    given: dict[str, str] = {}
    if account.password:
        script = home / "askpass"
        script.write_text(ASKPASS)
        script.chmod(0o700)
        given |= {
            "GIT_ASKPASS": str(script),
            "CI_GIT_USER": account.user,
            "CI_GIT_PASSWORD": account.password,
        }
    if account.agent and not account.ssh_key:
        given["SSH_AUTH_SOCK"] = account.agent
    return given


def _ssh_command(environ: Mapping[str, str], account: Account) -> str:
    """How ssh is called: without the person's configuration; without a key file, by the agent."""
    known = account.known_hosts or Path(environ.get("HOME", "/")) / ".ssh" / "known_hosts"
    words = ["ssh", "-F", os.devnull, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    words += ["-o", f'UserKnownHostsFile="{_plain_path(known)}"']
    words += ["-o", f"GlobalKnownHostsFile={os.devnull}"]
    words += ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10"]
    if account.ssh_key:
        words += ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        words += ["-o", f'IdentityFile="{_plain_path(account.ssh_key)}"']
    return shlex.join(words)


def _plain_path(path: Path) -> str:
    """The path as ssh reads it: `%` begins a token there, and Jenkins has `%2F` in workspaces."""
    return str(path).replace("%", "%%")


def _reasons(said: str) -> str:
    """What the server and its hooks said, without git's own ornament."""
    kept = [line for line in said.splitlines() if line.startswith(("remote:", "!"))]
    return "\n".join(f"  {line.removeprefix('remote:').strip()}" for line in kept) or said.strip()
