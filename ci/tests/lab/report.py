"""What a push came to: its commands as they go, then manifests, images, and what is valid."""

import json
import re
import shutil
import time
from collections.abc import Mapping
from typing import Any

from ci import process
from ci.context import Context
from ci.errors import Defect
from ci.tests.lab import pushes
from ci.tests.lab.jenkins import JenkinsRun, StageRun
from ci.tests.lab.servers import MANIFESTS, USER, Site, ci_of, environ_of

IN_CONSOLE = re.compile(r"^(?:\[[^]]*\] )?(\[Pipeline\] \{ \((?P<stage>.+)\)|\+ (?P<command>.+))$")


class Progress:
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
    return [json.loads(line) for line in lines if line]


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
    environ = environ_of(site, context) | {
        "MANIFEST_REPO_USR": USER,
        "MANIFEST_REPO_PSW": site.state.password,
    }
    folder = site.folder / "rendered"
    shutil.rmtree(folder, ignore_errors=True)
    manifests("clone", "--quiet", site.git.path(MANIFESTS), folder)
    for words in (["scaffold", str(folder), "--check"], ["status"]):
        done = process.run([*ci_of(site.workspace), *words], cwd=site.workspace, env=environ)
        if done.code != 0:
            raise Defect(f"ci {' '.join(words)}:\n{done.last_lines(40)}")
        parts.append(f"ci {' '.join(words)}:\n" + _indented(done.text))
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
