"""Reads and runs a Jenkinsfile without Jenkins: a harness in the Groovy that Jenkins embeds.

The harness (`harness/*.groovy`) is compiled once for each state of its sources. Credentials reach
it on its stdin and stand in no argument list; files made of them are readable by this user only and
gone after the run. docs/jenkins.md says what the harness does not cover.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci import process
from ci.errors import OutsideFault

SOURCES = Path(__file__).resolve().parent / "harness"
CACHE = SOURCES.parents[2] / ".cache" / "harness"
JARS = ("/usr/share/java/groovy-all.jar", "/usr/share/groovy/embeddable/groovy-all.jar")
# starts in half the time; a run lives for seconds
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8")


@dataclass(frozen=True)
class Credential:
    """One entry of the credentials store; its parts are secret and so not in its `repr`.

    kind: usernamePassword (username, password), string (secret), file (content) or
    sshUserPrivateKey (username, content, passphrase).
    """

    kind: str
    parts: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Job:
    """A Jenkinsfile in an environment. Folders: for a run only; they may be missing."""

    source: str
    environ: Mapping[str, str]
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    workspace: Path | None = None
    archive: Path | None = None
    locks: Path | None = None
    previous_result: str | None = None


@dataclass(frozen=True)
class Reading:
    """What a Jenkinsfile says in an environment. faults: (line, text); then there is no plan.

    stages, steps: as the harness tells them, with their path, whether they run, and the ids of the
    credentials that are bound there. agent: of the whole pipeline.
    """

    faults: Sequence[tuple[int, str]]
    warnings: Sequence[tuple[int, str]]
    stages: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]
    credentials: Sequence[str]
    agent: Mapping[str, str]


@dataclass(frozen=True)
class StageRun:
    """One stage of a run. result: SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT."""

    path: tuple[str, ...]
    result: str
    duration_s: float
    skipped: str | None
    steps: Sequence[Mapping[str, Any]]
    post: Sequence[str]

    @property
    def name(self) -> str:
        """What the console calls it."""
        return self.path[-1]


@dataclass(frozen=True)
class JenkinsRun:
    """How a run ended. post: the pipeline's own conditions' steps; archived: paths kept."""

    result: str
    stages: Sequence[StageRun]
    post: Sequence[Mapping[str, Any]]
    archived: Sequence[str]
    warnings: Sequence[tuple[int, str]]
    console: Path

    @property
    def ok(self) -> bool:
        """Whether Jenkins' ball would be blue."""
        return self.result == "SUCCESS"

    def stage(self, *path: str) -> StageRun:
        """The stage whose path ends like `path`."""
        return next(each for each in self.stages if each.path[-len(path) :] == path)


def missing(environ: Mapping[str, str] = os.environ) -> str | None:
    """What this machine lacks for the harness, and the package that has it; None when nothing."""
    if _jar() is None:
        return "Groovy 2.4 is not installed (Debian: apt install groovy)"
    if _java(environ) is None:
        return "no Java is installed (Debian: apt install default-jre-headless)"
    return None


def read(jobs: Sequence[Job]) -> list[Reading]:
    """What each of `jobs` would do; nothing is run. One process for all."""
    with tempfile.TemporaryDirectory(prefix="jenkinsfile-") as folder:
        console = Path(folder) / "console.log"
        answers = _harness([_plain(job, "plan") for job in jobs], Path(folder), console, unheard)
    return [_reading(answer) for answer in answers]


def run_jenkinsfile(
    job: Job, console: Path, heard: Callable[[str], None] | None = None
) -> JenkinsRun:
    """Run `job` in its workspace as a build would; its console is written to `console`.

    heard: called with each line as it comes. `OutsideFault` when the harness cannot run at all; a
    file that Jenkins would refuse is a FAILURE without stages, and the console says why.
    """
    with tempfile.TemporaryDirectory(prefix="jenkinsfile-") as folder:
        plain = _plain(job, "run") | {"secrets": str(Path(folder) / "secrets")}
        plain.setdefault("locks", str(Path(folder) / "locks"))
        plain.setdefault("archive", str(Path(folder) / "archive"))
        console.parent.mkdir(parents=True, exist_ok=True)
        (answer,) = _harness([plain], Path(folder), console, heard or unheard)
    ran = answer.get("run") or {"result": "FAILURE", "stages": [], "post": []}
    return JenkinsRun(
        result=ran["result"],
        stages=[
            StageRun(
                path=tuple(each["path"]),
                result=each["result"],
                duration_s=float(each.get("duration_s", 0)),
                skipped=each.get("skipped"),
                steps=each["steps"],
                post=each.get("post", ()),
            )
            for each in ran["stages"]
        ],
        post=ran["post"],
        archived=ran.get("archived", ()),
        warnings=[(each["line"], each["text"]) for each in ran.get("warnings", ())],
        console=console,
    )


def unheard(_line: str) -> None:
    """Nobody listens to the console as it comes."""


def _plain(job: Job, mode: str) -> dict[str, Any]:
    folders = {"workspace": job.workspace, "archive": job.archive, "locks": job.locks}
    return {
        "mode": mode,
        "source": job.source,
        "environ": dict(job.environ),
        "credentials": {
            name: {"kind": credential.kind, **credential.parts}
            for name, credential in job.credentials.items()
        },
        "previousResult": job.previous_result,
        **{name: str(path) for name, path in folders.items() if path is not None},
    }


def _reading(answer: Mapping[str, Any]) -> Reading:
    plan = answer.get("plan") or {}
    return Reading(
        faults=[(each["line"], each["text"]) for each in answer["faults"]],
        warnings=[(each["line"], each["text"]) for each in answer["warnings"]],
        stages=plan.get("stages", ()),
        steps=plan.get("steps", ()),
        credentials=plan.get("credentials", ()),
        agent=plan.get("agent", {}),
    )


def _harness(
    jobs: Sequence[Mapping[str, Any]], folder: Path, console: Path, heard: Callable[[str], None]
) -> list[dict[str, Any]]:
    answers = folder / "answers.json"
    argv = [*_command(compiled()), "harness"]
    given = json.dumps({"jobs": jobs, "answers": str(answers)}).encode()
    with console.open("w", encoding="utf-8") as kept, _child(argv) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(given)
        child.stdin.close()
        last = ""
        for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            kept.write(line + "\n")
            kept.flush()
            heard(line)
            last = line or last
        code = child.wait()
    if code != 0 or not answers.is_file():
        raise OutsideFault(f"the Jenkinsfile harness ended with {code}: {last} (see {console})")
    told: list[dict[str, Any]] = json.loads(answers.read_text(encoding="utf-8"))
    return told


@contextlib.contextmanager
def _child(argv: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a group of its own; whoever leaves the block leaves none of the group behind."""
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def compiled() -> Path:
    """The folder with the harness' classes, made anew when its sources change."""
    files = sorted(SOURCES.glob("*.groovy"))
    state = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]
    target = CACHE / state
    if target.is_dir():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        compiler = "org.codehaus.groovy.tools.FileSystemCompiler"
        done = process.run(
            [*_command(None), compiler, "-d", f"{made}/classes", *files], timeout_s=120
        )
        if done.code != 0:
            raise OutsideFault(f"the Jenkinsfile harness does not compile:\n{done.last_lines()}")
        with contextlib.suppress(OSError):  # another run was first
            Path(made, "classes").rename(target)
    return target


def _command(classes: Path | None) -> list[str]:
    java, jar = _java(os.environ), _jar()
    if java is None or jar is None:
        raise OutsideFault(missing() or "no Groovy")
    return [java, *JAVA_OPTIONS, "-cp", f"{jar}:{classes}" if classes else jar]


def _jar() -> str | None:
    return next((jar for jar in JARS if Path(jar).is_file()), None)


def _java(environ: Mapping[str, str]) -> str | None:
    """A Java: the one JAVA_HOME names, else Debian's oldest (so is Groovy 2.4), else any."""
    homes = [Path(environ["JAVA_HOME"])] if environ.get("JAVA_HOME") else []
    homes += sorted(
        Path("/usr/lib/jvm").glob("java-*"),
        key=lambda path: [int(word) for word in path.name.split("-") if word.isdecimal()] or [99],
    )
    for home in homes:
        if os.access(home / "bin" / "java", os.X_OK):
            return str(home / "bin" / "java")
    return shutil.which("java", path=environ.get("PATH"))
