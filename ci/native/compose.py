"""Around `docker compose up`: the secrets in .env, whose data it is, and how to go on."""

import asyncio
import json
import os
import re
import secrets as random_secrets
from pathlib import Path

import click

from ci import process
from ci.context import Context
from ci.errors import OutsideFault, Refused
from ci.native import keys, net
from ci.outcome import Outcome

PROJECT = "cloudopshub"  # as docker-compose.yml has it
PASSWORDS = tuple(f"POSTGRES_{code}PASSWORD" for code in ("", "DIS_", "DAS_", "APS_", "UBS_"))
QUOTED = re.compile(r"'((?:[^']*[^'\\])?)'")
OWN_WAY = frozenset("$\\\"' \t#")
"""What compose may read in its own way in a value without quotes."""
ENDING = """\
  `make down` stops the containers and keeps their data; `docker compose logs -f` follows them.
"""


@click.command()
@click.argument("file", default=".env")
@click.option("--show", is_flag=True, help="where the platform of compose is, and its key")
def secrets(context: Context, file: str, *, show: bool) -> Outcome:
    """Writes what `docker compose up` needs; values that are there already stay.

    FILE: within the repository (.env)
    """
    path = context.root / file
    return ready(context, path) if show else write_env(context, path)


def variables(path: Path) -> dict[str, str]:
    """The variables of an .env as compose reads them; `Refused` names one that it would misread."""
    plain, ours = {}, {*keys.fresh(), *PASSWORDS, "UBS_BOOTSTRAP_PASSWORD"}
    for name, value in keys.parse(path.read_text() if path.exists() else "").items():
        quoted = QUOTED.fullmatch(value)
        if not quoted and name in ours and OWN_WAY & set(value):
            raise Refused(
                f"{name} in {path.name} has a character that compose reads in its own way: "
                "put the value between single quotes, none inside, no backslash at the end"
            )
        plain[name] = quoted[1] if quoted else value.split(" #")[0].strip().strip("\"'")
    return plain


def write_env(context: Context, path: Path) -> Outcome:
    """`path` has every secret, for its owner only; what is there stays.

    `Refused` when the data is another clone's.
    """
    values = variables(path)
    wanted = keys.fresh() | {name: random_secrets.token_urlsafe(24) for name in PASSWORDS}
    missing = {name: value for name, value in wanted.items() if name not in values}
    project = (values | dict(context.environ)).get("COMPOSE_PROJECT_NAME") or PROJECT
    _check_owner(context, project, fresh="UBS_SECRET_KEY" in missing)
    if not missing:
        return Outcome("nothing", f"{path.name} is complete")
    if context.dry_run:
        return Outcome("done", f"{path.name}: would write {', '.join(missing)}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n" if values else "")  # the last line may have no end
        file.writelines(f"{name}={value}\n" for name, value in missing.items())
    return Outcome("done", f"{path.name}: wrote {', '.join(missing)}")


def _check_owner(context: Context, project: str, *, fresh: bool) -> None:
    """No container of `project` is another folder's; no volume, where the secrets are fresh."""
    label = f"--filter=label=com.docker.compose.project={project}"
    folder = '--format={{.Label "com.docker.compose.project.working_dir"}}'
    folders = sorted({*_docker(context, "ps", "--all", label, folder)} - {str(context.root)})
    volumes = _docker(context, "volume", "ls", label, "--format={{.Name}}") if fresh else []
    if not folders and not volumes:
        return
    whose = f"the volumes {', '.join(volumes)} are there, and this folder has not their .env"
    if folders:
        whose = f"its containers were made in {', '.join(folders)} (`make down` there ends them)"
    raise Refused(
        f"the compose project {project!r} is another folder's: {whose}.\nTo start here would take "
        "over its data. Give this one a name of its own, and a port:\n"
        "  printf 'COMPOSE_PROJECT_NAME=hub2\\nUI_PORT=8081\\n' >> .env"
    )


def _docker(context: Context, *words: str) -> list[str]:
    try:
        done = process.run(["docker", *words], env=context.environ, timeout_s=60)
    except OutsideFault:  # without an engine there is nothing to take over
        return []
    return [line for line in done.stdout.splitlines() if line] if done.code == 0 else []


def ready(context: Context, path: Path) -> Outcome:
    """The words of a platform that is up: address, set-up link while it is needed, key."""
    values = variables(path) | dict(context.environ)
    port, host = values.get("UI_PORT") or "8080", values.get("UI_HOST") or "127.0.0.1"
    public_url = values.get("UI_PUBLIC_URL") or f"http://localhost:{port}"
    near = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    try:
        status, body = asyncio.run(net.get(f"{near}/api/ubs/api/v1/setup"))
    except OSError as exc:
        raise OutsideFault(f"{near} does not answer: {exc}") from exc
    if status != 200:
        raise OutsideFault(f"{near} does not answer as the dashboard: {status}")
    link = keys.setup_link(public_url, values["UBS_SETUP_TOKEN"])
    shown, key = link if json.loads(body)["needed"] else None, values["UBS_BOOTSTRAP_API_KEY"]
    return Outcome("done", keys.closing_words(public_url, key, shown, ENDING))
