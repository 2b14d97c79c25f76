"""A test run: environments, PostgreSQL servers, each suite's own pytest, one report of all."""

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from ci import environments, process
from ci.context import Context
from ci.errors import Defect, OutsideFault
from ci.outcome import Outcome
from ci.test import running, suites
from ci.test.embedded_postgres import PostgresError, running_postgres
from ci.test.junit import closing_lines, merged

AT_ONCE = 2
"""So many suites run together, each with a server of its own: which rows a snapshot may take as
final depends on every transaction of the server, whatever its database."""

NOT_INHERITED = (
    "PYTEST_CURRENT_TEST",
    "PYTEST_PLUGINS",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "DATABASE_URL",
    # what a build server says of itself: tests end the same wherever they run
    *("BUILD_NUMBER", "BUILD_URL", "JOB_NAME", "BRANCH_NAME", "TAG_NAME", "CHANGE_ID"),
    *("CHANGE_TARGET", "GIT_BRANCH", "GIT_COMMIT", "GIT_URL", "GIT_PREVIOUS_SUCCESSFUL_COMMIT"),
    *(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")),
    *("ECR_REGISTRY", "MANIFEST_REPO_URL", "MANIFEST_REPO_BRANCH", "AWS_ENDPOINT_URL"),
)


def main(
    context: Context, wanted: Sequence[str], junit: Path, keyword: str | None = None
) -> Outcome:
    """The tests of `wanted`, or all, pass; `Defect` when one does not or none was collected."""
    catalogue = context.catalogue
    chosen = suites.suites(catalogue, wanted)
    folders = {suite.folder.name for suite in chosen} | {"ci"}
    if any(suite.name == suites.E2E for suite in chosen):
        folders |= {service.folder for service in catalogue.services}
    names = [suite.name for suite in chosen]
    if context.dry_run:
        return Outcome("done", f"would test: {', '.join(names)}", {"suites": names})
    made = environments.make(catalogue.root, sorted(folders), environments.DEV, context.screen)
    asyncio.run(made)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            slots = range(min(AT_ONCE, suites.widest(chosen)))
            servers = [stack.enter_context(running_postgres()) for _ in slots]
            # the one that TEST_POSTGRES_URL names has room for one suite at a time
            distinct = list(dict.fromkeys(servers))
            all_ended = running.run_all(
                chosen, distinct, _starter(context, keyword), context.screen.line
            )
    except PostgresError as error:
        raise OutsideFault(str(error)) from error
    report = merged(all_ended, empty_is_fine=bool(keyword))
    junit.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(report).write(junit, encoding="utf-8", xml_declaration=True)
    for line in closing_lines(report, time.monotonic() - began):
        context.screen.line(line)
    if report.get("errors") != "0" or report.get("failures") != "0":
        raise Defect(f"the tests of {', '.join(names)} did not all pass", suites=names)
    return Outcome("done", "", {"suites": names})


def _starter(
    context: Context, keyword: str | None
) -> Callable[[suites.Suite, str], running.Running]:
    """What starts a suite on a server."""
    folder = context.settings.cache_dir / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    given = process.without_secrets(os.environ)
    return functools.partial(
        running.start,
        folder=folder,
        env={name: value for name, value in given.items() if name not in NOT_INHERITED},
        options=["-p", "no:cacheprovider", *(["-k", keyword] if keyword else [])],
    )
