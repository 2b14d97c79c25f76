"""What stands on this machine for the outside: registry, git server, an account, what they keep.

Everything lies below one folder, kept from one run to the next as a build server keeps its own.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ci import config, process
from ci.context import Context
from ci.errors import CiError, OutsideFault, Refused
from ci.tests.lab import jenkins, layout, pushes
from ci.tests.lab.ecr_door import LocalEcr, running_ecr
from ci.tests.lab.git_server import GitServer, running_git_server
from ci.tests.lab.jenkins import Credential

SOURCE, MANIFESTS, USER = "cloudopshub", "manifests", "robot"
ROLE = "arn:aws:iam::000000000000:role/cloudopshub-publish"


@dataclass
class State:
    """What a build server remembers. Kept in a file that only this user reads."""

    password: str
    build: int = 0
    succeeded: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "State":
        """As the last run left it, or new."""
        try:
            return cls(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls(password=secrets.token_urlsafe(24))

    def keep(self, folder: Path) -> None:
        """For the next run."""
        path = folder / "state.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(vars(self), file)


@dataclass(frozen=True)
class Site:
    """The servers of one run, and the folder they keep their things in."""

    folder: Path
    ecr: LocalEcr
    git: GitServer
    state: State

    @property
    def workspace(self) -> Path:
        """The agent's."""
        return self.folder / "workspace"

    @property
    def account(self) -> tuple[str, str]:
        """User and password of both repositories."""
        return USER, self.state.password

    @property
    def addresses(self) -> dict[str, str]:
        """What docs/jenkins.md has people set for the folder of the job: a role, and no key.

        So a stage without the id token can ask the registry as little as it can there.
        """
        keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        kept = {name: value for name, value in self.ecr.environ.items() if name not in keys}
        return {**kept, "AWS_ROLE_ARN": ROLE, "MANIFEST_REPO_URL": self.git.url(MANIFESTS)}


def missing(environ: Mapping[str, str]) -> list[str]:
    """What this machine lacks, with the packages that have it; all at once."""
    lacks = [
        f"{program}: not found ({package})"
        for program, package in (
            ("git", "Debian: apt install git"),
            ("make", "Debian: apt install make"),
            ("ssh-keygen", "Debian: apt install openssh-client"),
        )
        if shutil.which(program, path=environ.get("PATH")) is None
    ]
    if groovy := jenkins.missing(environ):
        lacks.append(groovy)
    engine = None
    if shutil.which("docker", path=environ.get("PATH")) is None:
        engine = "docker: not found (a Docker engine with BuildKit; Debian: apt install docker.io)"
    elif process.run(["docker", "info"], timeout_s=300).code != 0:
        engine = "no Docker engine answers (docker info); start it, or join its group"
    if engine:
        lacks.append(engine)
    if shutil.which("docker-registry", path=environ.get("PATH")) is None and (
        engine or process.run(["docker", "image", "inspect", "registry:2"]).code != 0
    ):
        lacks.append(
            "docker-registry: not found (Debian: apt install docker-registry), nor an"
            " engine with the image registry:2"
        )
    return lacks


@contextmanager
def running(folder: Path) -> Iterator[Site]:
    """Registry and git server during the block; afterwards the images made for it are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    state = State.of(folder)
    with ExitStack() as stack:
        ecr = stack.enter_context(running_ecr(folder / "registry"))
        git = stack.enter_context(running_git_server(folder / "git", USER, state.password))
        site = Site(folder, ecr, git, state)
        try:
            yield site
        finally:
            state.keep(folder)
            _forget_images(ecr.registry, state.build)


def prepare(site: Site, context: Context) -> None:
    """All repositories are there, manifests as `ci scaffold` writes them, and a signing key."""
    site.git.create(SOURCE)
    for service in context.catalogue.services:
        registry = config.load(context.catalogue, environ_of(site, context)).registry
        site.ecr.create_repository(registry.repository(service))
    if not site.git.path(MANIFESTS).is_dir():
        site.git.create(MANIFESTS)

        def write(folder: Path) -> None:
            command = [*ci_of(context.root), "scaffold", str(folder)]
            done = process.run(command, cwd=context.root, env=environ_of(site, context))
            try:
                if done.code == Refused.exit_code:  # ci.toml tells of another layout
                    delivery = config.load(context.catalogue, environ_of(site, context))
                    layout.write(folder, delivery, context.catalogue)
                elif done.code != 0:
                    raise OutsideFault(f"ci scaffold: {done.last_lines()}")
            except CiError:
                shutil.rmtree(site.git.path(MANIFESTS))
                raise

        pushes.seed(site.folder / "scaffold", site.git.url(MANIFESTS), write, site.account)
    key = site.folder / "signing-key"
    if not key.exists():
        comment = ["-C", "ci@cloudopshub.invalid", "-N", ""]
        done = process.run(["ssh-keygen", "-q", "-t", "ed25519", *comment, "-f", key])
        if done.code != 0:
            raise OutsideFault(f"ssh-keygen: {done.last_lines()}")
        public = (site.folder / "signing-key.pub").read_text(encoding="utf-8")
        signers = f'ci@cloudopshub.invalid namespaces="git" {public}'
        (site.folder / "allowed-signers").write_text(signers, encoding="utf-8")


def credentials(site: Site) -> dict[str, Credential]:
    """The credentials store: what docs/jenkins.md has people create, with values of this run."""
    key = (site.folder / "signing-key").read_text(encoding="utf-8")
    return {
        "cloudopshub-manifests": Credential(
            "usernamePassword", {"username": USER, "password": site.state.password}
        ),
        "cloudopshub-commit-signing-key": Credential(
            "sshUserPrivateKey", {"username": "ci", "content": key}
        ),
        # the door gives keys for any token: AWS would look at what it says and who signed it
        "cloudopshub-aws-id-token": Credential("file", {"content": "no-token-at-home"}),
    }


def environ_of(site: Site, context: Context) -> dict[str, str]:
    """An agent's environment before Jenkins adds its own."""
    return pushes.passed_on(context.environ) | site.addresses


def ci_of(root: Path) -> list[str]:
    """The command line of the `ci` of that checkout."""
    return [str(root / "ci" / ".venv" / "bin" / "python"), "-m", "ci"]


def _forget_images(registry: str, build: int) -> None:
    """The engine keeps its layers, but no image by this run's names."""
    listed = process.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
    ours = [
        name
        for name in listed.stdout.split()
        if name.startswith(f"{registry}/") or re.fullmatch(rf"[^/]+:{build}-[0-9a-f]{{8}}", name)
    ]
    if listed.code == 0 and ours:
        process.run(["docker", "image", "rm", "--force", *ours])
