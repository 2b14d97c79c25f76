"""Who builds what, read once from the build server's variables and from git; who may publish.

The Jenkinsfile has the same rules in its `when`; a Replay, or a Jenkinsfile edited in a pull
request, goes around those but not around these.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ci.config import Delivery
from ci.context import Context
from ci.errors import Refused
from ci.model import TAG
from ci.tools.git_rules import without_credentials
from ci.tools.source_repo import SourceRepo

VARIABLES = {  # of Jenkins, by the fact that each tells
    "tag_name": "TAG_NAME",
    "change": "CHANGE_ID",
    "change_target": "CHANGE_TARGET",
    "build": "BUILD_NUMBER",
    "build_url": "BUILD_URL",
    "job": "JOB_NAME",
    "previous_success": "GIT_PREVIOUS_SUCCESSFUL_COMMIT",
}
NO_TAG = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class BuildFacts:
    """One build. None: the build server did not say, or there is none.

    change: the number of the pull request. previous_success: the commit of the last good build.
    """

    commit: str
    committed_at: datetime
    dirty: bool
    branch: str | None = None
    tag_name: str | None = None
    change: str | None = None
    change_target: str | None = None
    build: str | None = None
    build_url: str | None = None
    job: str | None = None
    source_repo: str | None = None
    previous_success: str | None = None

    def is_main(self, branch: str) -> bool:
        """Whether it may be compared with what is deployed from `branch`; a laptop's may."""
        return not self.change and not self.tag_name and self.branch in {None, branch}

    @property
    def run_id(self) -> str:
        """Tells this run from all others; the same again when the build is restarted."""
        name = NO_TAG.sub("-", self.job or "local").strip("-")
        return f"{name}-{self.build or 0}-{self.commit[:8]}"


def read(
    environ: Mapping[str, str], *, commit: str, committed_at: datetime, dirty: bool
) -> BuildFacts:
    """The facts in Jenkins' own variables, multibranch or not, beside what git says."""
    plain_job = environ.get("GIT_BRANCH", "").removeprefix("origin/")
    return BuildFacts(
        commit,
        committed_at,
        dirty,
        branch=environ.get("BRANCH_NAME") or plain_job or None,
        source_repo=without_credentials(environ.get("GIT_URL", "")) or None,
        **{fact: environ.get(name) or None for fact, name in VARIABLES.items()},
    )


def gather(context: Context) -> BuildFacts:
    """Who builds what, here and now."""
    repo = SourceRepo(context.root)
    at, dirty = repo.committed_at, repo.is_dirty
    return read(context.environ, commit=repo.commit, committed_at=at, dirty=dirty)


def may_not_publish(facts: BuildFacts, branch: str, expected_commit: str | None) -> str | None:
    """Why this build must not push an image or change a manifest; None when it may.

    branch: the one branch that publishes. expected_commit: what the build server says it builds.
    """
    expected = expected_commit or facts.commit
    nobody = "no build server says which branch this is (BRANCH_NAME); nobody publishes by hand"
    another = f"the build server builds {expected[:12]}, here is {facts.commit[:12]}"
    rules = (
        (facts.change, f"this is pull request {facts.change}; pull requests never publish"),
        # before the branch: a tag that is called main has BRANCH_NAME=main
        (facts.tag_name, f"this is the tag {facts.tag_name!r}; tags never publish"),
        (not facts.branch, nobody),
        (facts.branch != branch, f"this is branch {facts.branch!r}; only {branch!r} publishes"),
        (not facts.build, "BUILD_NUMBER is not set; a tag needs one"),
        (facts.dirty, "files differ from the commit (git status); what is published is in git"),
        (expected != facts.commit, another),
    )
    return next((why for forbidden, why in rules if forbidden), None)


def publishing(context: Context, delivery: Delivery) -> BuildFacts:
    """The facts of this build, when it may publish; `Refused` otherwise."""
    facts, expected = gather(context), context.environ.get("GIT_COMMIT")
    if why := may_not_publish(facts, delivery.publishing.branch, expected):
        raise Refused(f"nothing is published: {why}", status="may_not_publish")
    return facts


def refuse_elsewhere(context: Context, delivery: Delivery) -> None:
    """`Refused` in a build of what nobody has merged yet; a laptop and a plain job are none."""
    said, main = context.environ.get, delivery.publishing.branch
    rules = (
        (change := said("CHANGE_ID"), f"pull request {change}"),
        (tag := said("TAG_NAME"), f"the tag {tag!r}"),
        (
            (branch := said("BRANCH_NAME")) not in {None, "", main},
            f"branch {branch!r}, not of {main!r}",
        ),
    )
    if what := next((what for forbidden, what in rules if forbidden), None):
        text = f"this is a build of {what}; it never changes what runs"
        raise Refused(text, status="may_not_publish")


def tag(template: str, facts: BuildFacts) -> str:
    """The tag of this build's images; `Refused` when the registry would not take it.

    template: may hold {build}, {sha8}, {sha} and {branch}.
    """
    branch, commit = NO_TAG.sub("-", facts.branch or ""), facts.commit
    text = template.format(build=facts.build, sha8=commit[:8], sha=commit, branch=branch)
    if not TAG.fullmatch(text):
        why = f"{text!r}, made of {template!r}, is not an image tag"
        raise Refused(why, status="may_not_publish")
    return text
