"""A small delivery to try things on: a source with a history, a manifest repository behind HTTP.

source   c0 ─ c1 ─ c2 ─ … (main)        services das, dis, ui
server   http://127.0.0.1:…/manifests.git, user ci, a password that must show up nowhere
"""

import contextlib
import io
import os
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import registry_images
from listed_services import entries
from plain_git import git

from ci import catalogue, config
from ci.bump import bumping
from ci.bump.handshake import Means
from ci.context import Context, from_environment
from ci.model import ImageRef, Release
from ci.screen import Screen
from ci.tests.lab.git_server import GitServer, running_git_server

PASSWORD = "s3cret-of-the-manifests"  # searched for, so it is like nothing else
USER = "ci"
BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOST = "registry.example"
CODES = ("das", "dis", "ui")

REST = """
[[twin]]
path = "none"
in = []

[top_level]
allowed = ["ci"]

[plan]
ignored = []
test_only = []
widens_tests = []
widens_builds = []

[delivery]
branch = "main"
tag = "{build}-{sha8}"

[registry]
address = "registry.example"
namespace = ""

[scan]
fail_on = "HIGH"
wait_s = 1
waivers = "ci/waivers.toml"

[manifests]
url = ""
branch = "main"
author_name = "CloudOpsHub CI"
author_email = "ci@cloudopshub.invalid"
attempts = 20
require_signature = false
target = { file = "environments/{environment}/{folder}.yaml", key = "image" }

[manifests.render]
tool = "none"

[[environment]]
name = "staging"

[[environment]]
name = "production"
from = "staging"
"""
VALUES = """\
# {code} in {environment}
image:
  repository: {repository}
  tag: '0'  # by ci
replicas: 2
"""


@dataclass
class Lab:
    """See the module. text: its ci.toml; environ: what the build server would set."""

    folder: Path
    server: GitServer
    text: str
    commits: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    host: str = HOST

    @property
    def source(self):
        return self.folder / "source"

    @property
    def bare(self):
        return self.server.path("manifests")

    def context(self, *, at=-1, build=None, dry_run=False, **environ):
        """A call of `ci` in the source, standing at one of its commits."""
        git(self.source, "checkout", "-q", "--detach", self.commits[at])
        number = build or 100 + self.commits.index(self.commits[at])
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BRANCH_NAME": "main",
            "BUILD_NUMBER": str(number),
            "BUILD_URL": f"https://jenkins.example/job/hub/{number}/",
            "GIT_URL": "https://git.example/hub.git",
            "JOB_NAME": "hub/main",
            "MANIFEST_REPO_URL": self.server.url("manifests"),
            "MANIFEST_REPO_USR": USER,
            "MANIFEST_REPO_PSW": PASSWORD,
            **self.environ,
            **environ,
        }
        listed = catalogue.parse(self.text, self.source)
        now = BEGAN + timedelta(days=10)
        return Context(
            listed, from_environment(listed, given), given, Screen(io.StringIO()), dry_run,
            lambda: now,
        )  # fmt: skip

    def delivery(self, context):
        return config.parse(self.text, context.environ)

    def image(self, code, tag):
        digest = "sha256:" + (code + tag).encode().hex().ljust(64, "0")[:64]
        return ImageRef(f"{self.host}/cloudopshub-{code}", tag, digest)

    def release(self, at=-1, *, build=None, codes=CODES, run=""):
        """What `push` would have left of the build of that commit."""
        number = self.commits.index(self.commits[at])
        commit, build = self.commits[at], build or 100 + number
        tag = f"{build}-{commit[:8]}"
        return Release(
            run_id=f"hub-main-{build}-{commit[:8]}{run}",
            tag=tag,
            build=str(build),
            build_url=f"https://jenkins.example/job/hub/{build}/",
            source_commit=commit,
            source_repo="https://git.example/hub.git",
            committed_at=BEGAN + timedelta(hours=number),
            images={code: self.image(code, tag) for code in codes},
        )

    def published(self, registry, at=-1, *, build=None, codes=CODES):
        """That release, its images really in the registry and under their own digests."""
        release = self.release(at, build=build, codes=codes)
        images = {
            code: replace(
                image,
                digest=registry_images.push(registry, image.name, image.tag, str(image).encode()),
            )
            for code, image in release.images.items()
        }
        return replace(release, images=images)

    def at_registry(self, door):
        """From now on images are those of the door, which has a repository for each service."""
        self.text = self.text.replace(self.host, door.registry)
        self.change(lambda folder: [
            path.write_text(path.read_text().replace(self.host, door.registry))
            for path in folder.rglob("*.yaml")
        ])  # fmt: skip
        self.host, self.environ = door.registry, dict(door.environ)
        for code in CODES:
            door.create_repository(f"cloudopshub-{code}")

    def bump(self, at=-1, *, codes=CODES, build=None, means=None, context=None, **options):
        """`ci bump` of the release of that commit."""
        context = context or self.context(at=at)
        release = self.release(at, codes=codes, build=build)
        return bumping.deliver(context, self.delivery(context), release, means or MEANS, **options)

    def file(self, code, environment="staging"):
        """The file of the service as the server has it now."""
        return git(self.bare, "show", f"main:environments/{environment}/{code}-service.yaml")

    def log(self, form="%H"):
        """One line for each commit of the manifests, newest first."""
        return git(self.bare, "log", f"--format={form}", "main").splitlines()

    def change(self, change, message="by hand\n\na person"):
        """A commit of somebody else: `change` is given the working tree."""
        with contextlib.ExitStack() as kept:
            folder = self.folder / "other"
            git(self.folder, "clone", "-q", str(self.bare), str(folder))
            kept.callback(subprocess.run, ["rm", "-rf", str(folder)], check=True)
            change(folder)
            git(folder, "add", "-A")
            git(folder, "commit", "-q", "--allow-empty", "-F", "-", given=message)
            git(folder, "push", "-q", "--force", "origin", "HEAD:main")


MEANS = Means(render=lambda *_: (), sleep=lambda _: None)


def text(codes=CODES, rest=REST):
    """A ci.toml of these services."""
    return entries(codes) + rest


def seed(bare, files, message="begin\n\nby hand"):
    """The first commit of a bare repository."""
    pieces = [f"commit refs/heads/main\ncommitter a <a@b> {int(BEGAN.timestamp())} +0000\n"]
    pieces.append(f"data {len(message.encode())}\n{message}\n")
    for path, content in files.items():
        pieces.append(f"M 100644 inline {path}\ndata {len(content.encode())}\n{content}\n")
    git(bare, "fast-import", "--quiet", given="".join(pieces))


def source(folder, count, configured):
    """A source repository with `count` commits, an hour apart; their ids, oldest first."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", ".")
    pieces = []
    for number in range(count):
        at = int((BEGAN + timedelta(hours=number)).timestamp())
        pieces.append(
            f"commit refs/heads/main\ncommitter a <a@b> {at} +0000\ndata 9\ncommit {number:02}\n"
            f"M 100644 inline das-service/file\ndata 3\n{number:02}\n\n"
            "M 100644 inline .gitignore\ndata 8\n.cache/\n\n"
            f"M 100644 inline ci/ci.toml\ndata {len(configured)}\n{configured}\n"
        )
    git(folder, "fast-import", "--quiet", given="".join(pieces))
    git(folder, "checkout", "-q", "main")
    return git(folder, "rev-list", "--reverse", "main").split()


@contextlib.contextmanager
def running(folder, *, commits=6, codes=CODES, rest=REST, files=None):
    """A lab in `folder`, its server listening."""
    with running_git_server(folder / "server", USER, PASSWORD) as server:
        lab = Lab(folder, server, text(codes, rest))
        lab.commits = source(lab.source, commits, lab.text)
        bare = server.create("manifests")
        values = {
            f"environments/{environment}/{code}-service.yaml": VALUES.format(
                code=code, environment=environment, repository=f"{HOST}/cloudopshub-{code}"
            )
            for code in codes
            for environment in ("staging", "production")
        }
        seed(bare, values if files is None else files)
        yield lab
