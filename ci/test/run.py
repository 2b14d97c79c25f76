"""Prepares a test run (environments, PostgreSQL servers) and hands it to one pytest session."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from ci import environments, process
from ci.context import Context
from ci.errors import Defect, OutsideFault
from ci.outcome import Outcome
from ci.test import suites
from ci.test.embedded_postgres import PostgresError, running_postgres

INTERRUPTED = 2  # pytest's own word for Ctrl-C
AT_ONCE = 2
"""So many suites run together, each with a server of its own: which rows a snapshot may take as
settled depends on every transaction of the server, whatever its database."""

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
    try:
        with contextlib.ExitStack() as running:
            slots = range(min(AT_ONCE, suites.widest(chosen)))
            servers = [running.enter_context(running_postgres()) for _ in slots]
            # the one that TEST_POSTGRES_URL names has room for one suite at a time
            distinct = list(dict.fromkeys(servers))
            code = _pytest(context, chosen, distinct, junit, keyword)
    except PostgresError as error:
        raise OutsideFault(str(error)) from error
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code != 0:
        raise Defect(f"the tests of {', '.join(names)} did not all pass", suites=names)
    return Outcome("done", "", {"suites": names})


def _pytest(
    context: Context,
    chosen: Sequence[suites.Suite],
    servers: Sequence[str],
    junit: Path,
    keyword: str | None,
) -> int:
    """What pytest exits with. Its screen is stdout, or stderr where stdout carries JSON."""
    # ci's environment may have got pytest only just now
    import pytest  # noqa: PLC0415

    from ci.test.plugin import Suites  # noqa: PLC0415

    folder = context.settings.cache_dir / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    given = process.without_secrets(os.environ)
    env = {name: value for name, value in given.items() if name not in NOT_INHERITED}
    plugin = Suites(
        suites=chosen,
        folder=folder,
        env=env,
        servers=servers,
        options=["-q", "-p", "no:cacheprovider", *(["-k", keyword] if keyword else [])],
        empty_is_fine=bool(keyword),
    )
    options = ["-c", os.devnull, f"--rootdir={context.root}", "-ra", "--durations=10"]
    options += ["-p", "no:cacheprovider", "-o", "console_output_style=classic"]
    junit.parent.mkdir(parents=True, exist_ok=True)
    options.append(f"--junitxml={junit.absolute()}")
    with contextlib.redirect_stdout(context.screen.stream):
        return int(pytest.main([*options, str(context.root / "ci")], plugins=[plugin]))
