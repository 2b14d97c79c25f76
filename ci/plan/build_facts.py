"""Who builds what, read once from the build server's variables; and who may publish: PURE.

The Jenkinsfile has the same rules in its `when`; a Replay, or a Jenkinsfile edited in a pull
request, goes around those but not around these.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ci.errors import Refused
from ci.model import TAG
from ci.tools.git_address import without_credentials


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
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.job or "local").strip("-")
        return f"{name}-{self.build or 0}-{self.commit[:8]}"


def read(
    environ: Mapping[str, str], *, commit: str, committed_at: datetime, dirty: bool
) -> BuildFacts:
    """The facts in Jenkins' own variables, multibranch or not, beside what git says."""

    def said(name: str) -> str | None:
        return environ.get(name) or None

    plain_job = environ.get("GIT_BRANCH", "").removeprefix("origin/")
    return BuildFacts(
        commit=commit,
        committed_at=committed_at,
        dirty=dirty,
        branch=said("BRANCH_NAME") or plain_job or None,
        tag_name=said("TAG_NAME"),
        change=said("CHANGE_ID"),
        change_target=said("CHANGE_TARGET"),
        build=said("BUILD_NUMBER"),
        build_url=said("BUILD_URL"),
        job=said("JOB_NAME"),
        source_repo=without_credentials(environ.get("GIT_URL", "")) or None,
        previous_success=said("GIT_PREVIOUS_SUCCESSFUL_COMMIT"),
    )


def may_not_publish(facts: BuildFacts, branch: str, expected_commit: str | None) -> str | None:
    """Why this build must not push an image or change a manifest; None when it may.

    branch: the one branch that publishes. expected_commit: what the build server says it builds.
    """
    expected = expected_commit or facts.commit
    rules = (
        (facts.change, f"this is pull request {facts.change}; pull requests never publish"),
        # before the branch: a tag that is called main has BRANCH_NAME=main
        (facts.tag_name, f"this is the tag {facts.tag_name!r}; tags never publish"),
        (
            not facts.branch,
            "no build server says which branch this is (BRANCH_NAME); nobody publishes by hand",
        ),
        (facts.branch != branch, f"this is branch {facts.branch!r}; only {branch!r} publishes"),
        (not facts.build, "BUILD_NUMBER is not set; a tag needs one"),
        (facts.dirty, "files differ from the commit (git status); what is published is in git"),
        (
            expected != facts.commit,
            f"the build server builds {expected[:12]}, here is {facts.commit[:12]}",
        ),
    )
    return next((why for forbidden, why in rules if forbidden), None)


def tag(template: str, facts: BuildFacts) -> str:
    """The tag of this build's images; `Refused` when the registry would not take it.

    template: may hold {build}, {sha8}, {sha} and {branch}.
    """
    text = template.format(
        build=facts.build,
        sha8=facts.commit[:8],
        sha=facts.commit,
        branch=re.sub(r"[^A-Za-z0-9_.-]+", "-", facts.branch or ""),
    )
    if not TAG.fullmatch(text):
        why = f"{text!r}, made of {template!r}, is not an image tag"
        raise Refused(why, status="may_not_publish")
    return text
