"""The whole pipeline on this machine: a push, the real Jenkinsfile, a registry, manifests, a look.

    checkout ──▶ developer's clone ──push──▶ cloudopshub.git ──▶ the agent's workspace
                                             (HTTP, password)        │ the Jenkinsfile
                 ECR-shaped door  ◀── images ────────────────────────┤ in the harness
                 manifests.git    ◀── one signed commit ─────────────┘

docs/jenkins.md says what a real Jenkins has and this has not.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ci import catalogue as catalogue_module
from ci.context import Context
from ci.errors import Defect, OutsideFault, UsageError
from ci.outcome import Outcome
from ci.tests.lab import jenkins, pushes, report
from ci.tests.lab.jenkins import JenkinsRun, Job
from ci.tests.lab.pushes import Developer
from ci.tests.lab.servers import (
    MANIFESTS,
    SOURCE,
    USER,
    Site,
    State,
    credentials,
    environ_of,
    missing,
    prepare,
    running,
)

JOB = "cloudopshub"
# set for the steps: a pipeline does not test itself by running itself
INSIDE = "CLOUDOPSHUB_PIPELINE"


@dataclass(frozen=True)
class Wish:
    """What is pushed. change: the number of a pull request. only: services to build, others not."""

    branch: str = "main"
    change: str | None = None
    touch: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    break_test: str | None = None
    no_change: bool = False


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
        environ=environ_of(site, context)
        | variables(state, wish, name, commit, site.git.url(SOURCE))
        | ({"GIT_PREVIOUS_SUCCESSFUL_COMMIT": base} if wish.only else {}),
        credentials=credentials(site),
        workspace=site.workspace,
        archive=console.parent / "archive",
        locks=site.folder / "locks",
        previous_result=state.results.get(name),
    )
    ran = jenkins.run_jenkinsfile(job, console, report.Progress(context))
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
        before = report.head(site)
        context.screen.line(f"registry {site.ecr.registry}, git {site.git.url(MANIFESTS)}")
        ran = build(site, context, wish)
        duration_s = time.monotonic() - began
        parts = [report.table(ran, report.outcomes(site))]
        changed = report.head(site) != before
        may_publish = wish.branch == "main" and not wish.change and not wish.break_test
        if changed and not may_publish:
            raise Defect("the manifests changed, and must not have", console=str(ran.console))
        parts += report.look(site, context, before)
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
            "manifest_commit": report.head(site),
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
