"""The whole pipeline on this machine: a push, the real Jenkinsfile, a registry, manifests, a look.

    checkout ──▶ developer's clone ──push──▶ cloudopshub.git ──▶ the agent's workspace
                                             (HTTP, password)        │ the Jenkinsfile
                 ECR-shaped door  ◀── images, release record ────────┤ in the harness
                 manifests.git    ◀── one signed commit ─────────────┘

Everything stands below one folder, kept from one run to the next as a build server keeps its own.
docs/jenkins.md says what a real Jenkins has and this has not.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci import catalogue as catalogue_module
from ci import process
from ci.context import Context
from ci.errors import Defect, OutsideFault, UsageError
from ci.local import jenkins, pushes
from ci.local.ecr_door import LocalEcr, running_ecr
from ci.local.git_server import GitServer, running_git_server
from ci.local.jenkins import Credential, JenkinsRun, Job, StageRun
from ci.local.pushes import Developer
from ci.outcome import Outcome

SOURCE, MANIFESTS, USER = "cloudopshub", "manifests", "robot"
JOB = "cloudopshub"
ROLE = "arn:aws:iam::000000000000:role/cloudopshub-publish"
INSIDE = (
    "CLOUDOPSHUB_PIPELINE"  # set for the steps: a pipeline does not test itself by running itself
)
IN_CONSOLE = re.compile(r"^(?:\[[^]]*\] )?(\[Pipeline\] \{ \((?P<stage>.+)\)|\+ (?P<command>.+))$")


@dataclass(frozen=True)
class Wish:
    """What is pushed. change: the number of a pull request. only: services to build, others not."""

    branch: str = "main"
    change: str | None = None
    touch: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    break_test: str | None = None
    no_change: bool = False


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
    elif process.run(["docker", "info"], timeout_s=30).code != 0:
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
    """Both repositories are there, manifests as `ci scaffold` writes them, and a signing key."""
    site.git.create(SOURCE)
    if not site.git.path(MANIFESTS).is_dir():
        site.git.create(MANIFESTS)

        def write(folder: Path) -> None:
            command = [*_ci(context.root), "scaffold", str(folder)]
            done = process.run(command, cwd=context.root, env=_environ(site, context))
            if done.code != 0:
                shutil.rmtree(site.git.path(MANIFESTS))
                raise OutsideFault(f"ci scaffold: {done.last_lines()}")

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


def push(site: Site, context: Context, wish: Wish) -> tuple[str, str]:
    """What the wish says is on the server: (the ref, the commit the build may compare with)."""
    developer = Developer.at(site.folder / "developer", *site.account)
    branch = f"change-{wish.change}" if wish.change else wish.branch
    base = developer.follow(context.root, branch)
    for name in (*wish.touch, *wish.only):
        service = catalogue_module.find(context.catalogue, name)
        developer.touch(service, f"build {site.state.build}")
    if wish.break_test:
        developer.break_test(catalogue_module.find(context.catalogue, wish.break_test))
    if wish.no_change:
        developer.change_nothing()
    ref = f"refs/pull/{wish.change}/head" if wish.change else f"refs/heads/{wish.branch}"
    url = site.git.url(SOURCE)
    if ref != "refs/heads/main":
        developer.git("push", "--quiet", "--force", url, "main:refs/heads/main")
    developer.push(url, ref)
    if wish.break_test:
        developer.take_back(base)  # the next run does not begin broken
    return ref, base


def build(site: Site, context: Context, wish: Wish) -> JenkinsRun:
    """Push, check out as an agent does, run the Jenkinsfile."""
    state = site.state
    state.build += 1
    ref, base = push(site, context, wish)
    commit = pushes.check_out(site.workspace, site.git.url(SOURCE), ref, *site.account)
    name = f"PR-{wish.change}" if wish.change else wish.branch
    console = site.folder / "builds" / str(state.build) / "console.log"
    job = Job(
        source=(site.workspace / "Jenkinsfile").read_text(encoding="utf-8"),
        environ=_environ(site, context)
        | variables(state, wish, name, commit, site.git.url(SOURCE))
        | ({"GIT_PREVIOUS_SUCCESSFUL_COMMIT": base} if wish.only else {}),
        credentials=credentials(site),
        workspace=site.workspace,
        archive=console.parent / "archive",
        locks=site.folder / "locks",
        previous_result=state.results.get(name),
    )
    ran = jenkins.run_jenkinsfile(job, console, _Progress(context))
    state.results[name] = ran.result
    if ran.ok:
        state.succeeded[name] = commit
    return ran


def variables(state: State, wish: Wish, name: str, commit: str, url: str) -> dict[str, str]:
    """Jenkins' own variables for a build of a multibranch job."""
    change = {
        "CHANGE_ID": wish.change,
        "CHANGE_TARGET": "main",
        "CHANGE_BRANCH": f"change-{wish.change}",
    }
    previous = state.succeeded.get(name)
    return {
        "CI": "true",
        INSIDE: "1",
        "BRANCH_NAME": name,
        "BUILD_NUMBER": str(state.build),
        "BUILD_URL": f"https://jenkins.invalid/job/{JOB}/job/{name}/{state.build}/",
        "JOB_NAME": f"{JOB}/{name}",
        "GIT_COMMIT": commit,
        "GIT_BRANCH": name,
        "GIT_URL": url,
        **({"GIT_PREVIOUS_SUCCESSFUL_COMMIT": previous} if previous else {}),
        **({key: value for key, value in change.items() if value} if wish.change else {}),
    }


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


def _environ(site: Site, context: Context) -> dict[str, str]:
    """An agent's environment before Jenkins adds its own."""
    return pushes.passed_on(context.environ) | site.addresses


def _ci(root: Path) -> list[str]:
    return [str(root / "ci" / ".venv" / "bin" / "python"), "-m", "ci"]


def _forget_images(registry: str, build: int) -> None:
    """The engine keeps its layers, but no image by this run's names."""
    listed = process.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
    ours = [
        name
        for name in listed.output.split()
        if name.startswith(f"{registry}/") or re.fullmatch(rf"[^/]+:{build}-[0-9a-f]{{8}}", name)
    ]
    if listed.code == 0 and ours:
        process.run(["docker", "image", "rm", "--force", *ours])


class _Progress:
    """Tells of each command of the build as it begins."""

    def __init__(self, context: Context) -> None:
        self._screen = context.screen
        self._began = time.monotonic()
        self._stage = ""

    def __call__(self, line: str) -> None:
        """Hear a line of the console."""
        found = IN_CONSOLE.match(line)
        if found is None:
            return
        self._stage = found["stage"] or self._stage
        if found["command"] and found["command"].startswith(("make ", "python -m ci ")):
            elapsed = time.monotonic() - self._began
            self._screen.line(f"  {elapsed:6.1f} s  {self._stage}: {found['command']}")


def outcomes(site: Site) -> list[dict[str, Any]]:
    """How each command of the build ended, as the build itself kept it."""
    file = site.workspace / ".cache" / "ci" / "outcomes.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def head(site: Site) -> str:
    """The commit that Argo CD would follow."""
    return pushes.Git(site.git.path(MANIFESTS), *site.account)("rev-parse", "refs/heads/main")


def look(site: Site, context: Context, before: str) -> list[str]:
    """What became of it, part by part; `Defect` when the manifests are not what they must be."""
    manifests = pushes.Git(site.git.path(MANIFESTS), *site.account)
    after = head(site)
    if after == before:
        return [f"manifests: unchanged at {after[:12]}; nothing was published"]
    if not _published_is_signed(site, after):
        raise Defect(f"the manifest commit {after[:12]} is not signed by the key of this run")
    parts = [
        f"manifests: one commit, {after[:12]}, its signature verified\n"
        + _indented(manifests("show", "--format=%s%n%n%b", "--unified=0", after))
    ]
    release = site.workspace / ".cache" / "ci" / "release.json"
    if release.exists():
        images = json.loads(release.read_text(encoding="utf-8"))["images"]
        parts.append("images:\n" + "\n".join(f"  {code:4} {ref}" for code, ref in images.items()))
    environ = _environ(site, context) | {
        "MANIFEST_REPO_USR": USER,
        "MANIFEST_REPO_PSW": site.state.password,
    }
    folder = site.folder / "rendered"
    shutil.rmtree(folder, ignore_errors=True)
    manifests("clone", "--quiet", site.git.path(MANIFESTS), folder)
    for words in (["scaffold", str(folder), "--check"], ["status"]):
        done = process.run([*_ci(site.workspace), *words], cwd=site.workspace, env=environ)
        if done.code != 0:
            raise Defect(f"ci {' '.join(words)}:\n{done.last_lines(40)}")
        parts.append(f"ci {' '.join(words)}:\n" + _indented(done.output.strip()))
    return parts


def _published_is_signed(site: Site, commit: str) -> bool:
    signers = f"gpg.ssh.allowedSignersFile={site.folder / 'allowed-signers'}"
    git = pushes.Git(site.git.path(MANIFESTS), *site.account)
    return git.holds("-c", "gpg.format=ssh", "-c", signers, "verify-commit", commit)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def table(ran: JenkinsRun, told: list[dict[str, Any]]) -> str:
    """A line for each step that ran and each stage that did not."""
    said = list(told)
    lines = []
    for stage in ran.stages:
        if stage.skipped:
            lines.append(f"  – {' / '.join(stage.path)}: skipped, {stage.skipped}")
        lines += [_row(stage, step, said) for step in stage.steps if step["name"] == "sh"]
    return "\n".join(lines)


def _row(stage: StageRun, step: Mapping[str, Any], said: list[dict[str, Any]]) -> str:
    mark = "✓" if step["result"] == "SUCCESS" else "✗"
    command = str(step["text"])
    name = command.removeprefix("python -m ci ").split()[0]
    line = next((each for each in said if each["command"] == name), None)
    if line:  # each line once: `test` and `build` come for every folder
        said.remove(line)
    status = f": {line['status']}" if line else ""
    where = " / ".join(part.removeprefix("Matrix - ") for part in stage.path[:2])
    return f"  {mark} {float(step['duration_s']):6.1f} s  {where}: {command}{status}"


def main(context: Context, folder: Path, wish: Wish, *, fresh: bool, keep: bool) -> Outcome:
    """One push, all the way; then what came of it."""
    if lacks := missing(context.environ):
        listing = "\n  ".join(lacks)
        raise OutsideFault(f"the pipeline needs what this machine lacks:\n  {listing}", lacks=lacks)
    if context.environ.get(INSIDE):
        raise UsageError("this is a step of `ci local` already")
    if context.dry_run:
        what = " ".join(f"{key}={value}" for key, value in vars(wish).items() if value)
        text = f"would push {context.root} ({what}) and run its Jenkinsfile in {folder}"
        return Outcome("would_run", text)
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    with running(folder) as site:
        prepare(site, context)
        before = head(site)
        context.screen.line(f"registry {site.ecr.registry}, git {site.git.url(MANIFESTS)}")
        ran = build(site, context, wish)
        duration_s = time.monotonic() - began
        parts = [table(ran, outcomes(site))]
        changed = head(site) != before
        may_publish = wish.branch == "main" and not wish.change and not wish.break_test
        if changed and not may_publish:
            raise Defect("the manifests changed, and must not have", console=str(ran.console))
        parts += look(site, context, before)
        where = {
            "console": str(ran.console),
            "artifacts": str(ran.console.parent / "archive"),
            "workspace": str(site.workspace),
            "manifests": str(site.git.path(MANIFESTS)),
        }
        parts.append("look at\n" + "\n".join(f"  {name:10} {at}" for name, at in where.items()))
        facts = {
            "result": ran.result,
            "build": site.state.build,
            "published": changed,
            "manifest_commit": head(site),
            "duration_s": round(duration_s, 1),
            "stages": [
                {"path": list(each.path), "result": each.result, "duration_s": each.duration_s}
                for each in ran.stages
            ],
            **where,
        }
        text = "\n\n".join([*parts, f"Finished: {ran.result}, {duration_s:.1f} s"])
        if keep:
            context.screen.line(text)
            _wait(context, site)
        expected = "FAILURE" if wish.break_test else "SUCCESS"
        if ran.result != expected:
            raise Defect(text, status="failed", **facts)
    return Outcome(
        "stopped" if wish.break_test else "delivered" if changed else "nothing", text, facts
    )


def _wait(context: Context, site: Site) -> None:
    """Keep the servers until Ctrl-C."""
    context.screen.line(
        f"\nkept running until Ctrl-C: {site.git.url(MANIFESTS)} (user {USER}, password in"
        f" {site.folder / 'state.json'}), registry {site.ecr.registry}"
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        context.screen.line("stopped")
