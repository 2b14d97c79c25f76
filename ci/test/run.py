"""`ci test`: environments, PostgreSQL servers, each suite's own pytest, one report of all.

    pytest ──stdout──▶ .cache/tests/SUITE.log ──followed──▶ `das unit │ ......  [ 40%]`
           ──junit───▶ .cache/tests/SUITE.xml ──merged────▶ one file, one closing line (suites.py)

A suite that crashes, collects nothing or ends oddly is a failed test, its last lines the reason.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import click

from ci import environments, process
from ci.context import Context
from ci.errors import Defect, OutsideFault
from ci.native import leash
from ci.native.logs import Follower, printable, tail
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.facts import VARIABLES
from ci.plan.planning import FILE, PLAN_OPTION
from ci.test import suites
from ci.test.suites import Ended, Suite

AT_ONCE = 2
"""So many suites run together, each with a server of its own: which rows a snapshot may take as
final depends on every transaction of the server, whatever its database."""
TIMEOUT_S, POLL_S, QUIET_S_MAX = 3600.0, 0.05, 10.0
LAST_LINES, FAILURES_TOLD = 40, 10
NOT_INHERITED = {
    *("PYTEST_CURRENT_TEST", "PYTEST_PLUGINS", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL"),
    # what a build server says of itself: tests end the same wherever they run
    *(*VARIABLES.values(), "BRANCH_NAME", "GIT_BRANCH", "GIT_COMMIT", "GIT_URL"),
    *(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")),
    *("ECR_REGISTRY", "MANIFEST_REPO_URL", "MANIFEST_REPO_BRANCH", "AWS_ENDPOINT_URL"),
}


@click.command()
@click.argument("suite", nargs=-1)
@click.option("--junit", metavar="FILE", type=FILE, help="(.cache/ci/junit/NAMES.xml)")
@PLAN_OPTION
@click.option("-k", "keyword", metavar="EXPRESSION", help="pytest's -k")
def test(
    context: Context,
    suite: Sequence[str],
    junit: Path | None,
    plan: Path | None,
    keyword: str | None,
) -> Outcome:
    """Runs tests as each folder's own pytest, in the environment its lock makes.

    Without names: everything, units first. With --plan, a folder that
    the plan does not ask for is nothing to do. A suite that collects no test has failed. JUnit XML
    is always written.

    SUITE: folders or codes, ci, e2e (everything)
    """
    wanted = list(suite)
    if plan:
        parts = planning.read(plan).chosen(wanted)
        wanted = [part.name for part in parts if part.test]
        if not wanted:
            lines = [f"{part.name}: {why}" for part in parts for why in part.why]
            return Outcome("nothing", "\n".join(lines), {"suites": []})
    junit = junit or context.handed_on / "junit" / f"{'-'.join(wanted) or 'all'}.xml"
    return main(context, wanted, junit, keyword)


def main(
    context: Context, wanted: Sequence[str], junit: Path, keyword: str | None = None
) -> Outcome:
    """The tests of `wanted`, or all, pass; `Defect` when one does not or none was collected."""
    catalogue, screen = context.catalogue, context.screen
    chosen = suites.suites(catalogue, wanted)
    folders = {suite.folder.name for suite in chosen} | {"ci"}
    if any(suite.name == suites.E2E for suite in chosen):
        folders |= {service.folder for service in catalogue.services}
    names = [suite.name for suite in chosen]
    if context.dry_run:
        return Outcome("done", f"would test: {', '.join(names)}", {"suites": names})
    asyncio.run(environments.make(catalogue.root, sorted(folders), environments.DEV, screen))
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        count = min(AT_ONCE, len(chosen))
        servers = [stack.enter_context(running_postgres(catalogue.root)) for _ in range(count)]
        all_ended = asyncio.run(_run_all(context, chosen, servers, keyword))
    report = suites.merged(all_ended, empty_is_fine=bool(keyword))
    junit.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(report).write(junit, encoding="utf-8", xml_declaration=True)
    failed, outcomes = suites.failures(report), list(map(suites.outcome, suites.cases(report)))
    for line in failed:
        screen.line(line)
    screen.line(suites.closing_line(outcomes, time.monotonic() - began))
    if failed:
        more = [f"… and {len(failed) - FAILURES_TOLD} more"] if len(failed) > FAILURES_TOLD else []
        text = f"the tests of {', '.join(names)} did not all pass"
        raise Defect("\n".join([text, *failed[:FAILURES_TOLD], *more]), suites=names)
    return Outcome("done", "", {"suites": names})


@contextlib.contextmanager
def running_postgres(root: Path) -> Iterator[str]:
    """A superuser's libpq URL: TEST_POSTGRES_URL, else of a server that lives for the block."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    argv, pipe = [sys.executable, "-m", "ci.native.postgres_for_tests"], subprocess.PIPE
    with subprocess.Popen(  # the end of its stdin is the server's end
        argv, cwd=root, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        answer = server.stdout.readline().strip()
        if not answer.startswith("postgresql://"):
            raise OutsideFault(f"{answer}\n{server.stdout.read()}".strip())
        yield answer


def environment() -> dict[str, str]:
    """What a suite sees of our environment: no secret, and nothing that would change its end."""
    given = process.without_secrets(os.environ)
    return {name: value for name, value in given.items() if name not in NOT_INHERITED}


async def _run_all(
    context: Context, chosen: Sequence[Suite], servers: Sequence[str], keyword: str | None
) -> list[Ended]:
    """How all suites ended, begun in their order; no two of the same time share a server."""
    folder, screen = context.settings.cache_dir / "tests", context.screen
    folder.mkdir(parents=True, exist_ok=True)
    width = max((len(suite.name) for suite in chosen), default=0)
    free, all_ended = asyncio.Queue[str](), list[Ended]()
    for server in set(servers):  # the one of TEST_POSTGRES_URL has room for one suite at a time
        free.put_nowait(server)

    async def run_one(suite: Suite) -> None:
        def say(text: str) -> None:
            screen.line(f"{suite.name:>{width}} │ {text}")

        server = await free.get()
        env = environment() | {"TEST_POSTGRES_URL": server}
        all_ended.append(await _run_suite(suite, folder, env, keyword, say))
        free.put_nowait(server)

    async with asyncio.TaskGroup() as group:
        for suite in chosen:
            group.create_task(run_one(suite))
    return all_ended


async def _run_suite(
    suite: Suite,
    folder: Path,
    env: Mapping[str, str],
    keyword: str | None,
    say: Callable[[str], None],
) -> Ended:
    """How the suite's pytest ended, its lines said; of a long one, every 10 s, what there is."""
    path = folder / suite.name.replace(" ", "-")
    report, log = path.with_suffix(".xml"), path.with_suffix(".log")
    report.unlink(missing_ok=True)
    command = [str(environments.python_of(suite.folder)), "-m", "pytest", "-q", "-ra"]
    command += [*suite.targets, "-p", "no:cacheprovider", *(["-k", keyword] if keyword else [])]
    command += [f"--junitxml={report}", "-ojunit_family=xunit1", f"-ojunit_suite_name={suite.name}"]
    with log.open("wb") as file:
        follower = Follower(suite.name, log)
        pytest = await asyncio.create_subprocess_exec(
            *leash.command(command, signal.SIGTERM),
            cwd=suite.folder,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    began = said_at = time.monotonic()
    has_ended = False
    try:
        while not has_ended:
            has_ended = pytest.returncode is not None  # looked at before its last lines are
            while lines := list(follower.new_lines()):
                said_at = time.monotonic()
                for line in lines:
                    say(printable(line))
            now = time.monotonic()
            if now - said_at > QUIET_S_MAX:
                said_at = now
                say(f"{follower.unfinished.decode(errors='replace')}… {now - began:.0f} s")
            if now - began > TIMEOUT_S:
                leash.signal_group(pytest.pid, signal.SIGKILL)
            await asyncio.sleep(POLL_S)
    finally:
        if pytest.returncode is None:
            leash.signal_group(pytest.pid, signal.SIGTERM)
            await asyncio.wait_for(pytest.wait(), 30)
    last_lines = "\n".join(printable(row) for row in tail(log, LAST_LINES))
    return Ended(suite, pytest.returncode or 0, suites.read_report(report), last_lines)
