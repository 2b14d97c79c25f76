"""Around `docker compose up`: the secrets in .env, whose data it is, and how to go on."""

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ci import process
from ci.context import Context
from ci.errors import OutsideFault, Refused
from ci.native import keys, net
from ci.outcome import Outcome

PROJECT = "cloudopshub"  # as docker-compose.yml has it
PASSWORDS = (
    "POSTGRES_PASSWORD",
    *(f"POSTGRES_{code}_PASSWORD" for code in ("DIS", "DAS", "APS", "UBS")),
)
OWN_WAY = frozenset("$\\\"' \t#")
"""What compose may read in its own way in a value without quotes."""
ENDING = """\
  `make down` stops the containers and keeps their data; `docker compose logs -f` follows them.
"""


def variables(path: Path) -> dict[str, str]:
    """The variables of an .env as compose reads them; `Refused` names one that it would misread."""
    values = keys.parse(path.read_text()) if path.exists() else {}
    plain = {}
    for name, value in values.items():
        quoted = len(value) > 1 and value[0] == value[-1] == "'"
        inner = value[1:-1] if quoted else value
        if inner.endswith("\\") or "'" in inner or (not quoted and OWN_WAY & set(value)):
            if name in keys.fresh() or name in PASSWORDS or name == "UBS_BOOTSTRAP_PASSWORD":
                raise Refused(
                    f"{name} in {path.name} has a character that compose reads in its own way: "
                    "put the value between single quotes, none inside, no backslash at the end"
                )
            inner = value.split(" #")[0].strip().strip("\"'")
        plain[name] = inner
    return plain


def write_env(context: Context, path: Path) -> Outcome:
    """`path` has every secret; what is there stays. `Refused` when the data is another clone's."""
    values = variables(path)
    wanted = keys.fresh() | {name: secrets.token_urlsafe(24) for name in PASSWORDS}
    missing = {name: value for name, value in wanted.items() if name not in values}
    project = (values | dict(context.environ)).get("COMPOSE_PROJECT_NAME") or PROJECT
    check_owner(context.root, context.environ, project, fresh="UBS_SECRET_KEY" in missing)
    if not missing:
        return Outcome("nothing", f"{path.name} is complete")
    if context.dry_run:
        return Outcome("done", f"{path.name}: would write {', '.join(missing)}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if values:
            file.write("\n")  # the last line may have no end
        file.writelines(f"{name}={value}\n" for name, value in missing.items())
    return Outcome("done", f"{path.name}: wrote {', '.join(missing)}")


def check_owner(root: Path, environ: Mapping[str, str], project: str, *, fresh: bool) -> None:
    """`Refused` when containers or volumes of `project` belong to another folder.

    fresh: the secrets are about to be made, so a database that is there has others. Without an
    engine there is nothing to take over.
    """
    folder = '{{.Label "com.docker.compose.project.working_dir"}}'
    label = f"label=com.docker.compose.project={project}"
    other = _docker(environ, "ps", "--all", f"--filter={label}", f"--format={folder}")
    volumes = _docker(environ, "volume", "ls", f"--filter={label}", "--format={{.Name}}")
    if folders := sorted({line for line in other if line and Path(line) != root}):
        whose = f"its containers were made in {', '.join(folders)} (`make down` there ends them)"
    elif fresh and volumes:
        whose = f"the volumes {', '.join(volumes)} are there, and this folder has not their .env"
    else:
        return
    raise Refused(
        f"the compose project {project!r} is another folder's: {whose}.\nTo start here would take "
        "over its data. Give this one a name of its own, and a port:\n"
        "  printf 'COMPOSE_PROJECT_NAME=hub2\\nUI_PORT=8081\\n' >> .env"
    )


def _docker(environ: Mapping[str, str], *words: str) -> list[str]:
    try:
        done = process.run(["docker", *words], env=environ, timeout_s=60)
    except OutsideFault:
        return []
    return done.stdout.split("\n")[:-1] if done.code == 0 else []


def ready(context: Context, path: Path) -> Outcome:
    """The words of a platform that is up: address, set-up link while it is needed, key."""
    values = variables(path) | dict(context.environ)
    port = values.get("UI_PORT") or "8080"
    public_url = values.get("UI_PUBLIC_URL") or f"http://localhost:{port}"
    host = values.get("UI_HOST") or "127.0.0.1"
    near = "127.0.0.1" if host == "0.0.0.0" else host
    try:
        status, body = asyncio.run(net.get(f"http://{near}:{port}/api/ubs/api/v1/setup"))
    except OSError as exc:
        raise OutsideFault(f"http://{near}:{port} does not answer: {exc}") from exc
    if status != 200:
        raise OutsideFault(f"http://{near}:{port} does not answer as the dashboard: {status}")
    link = keys.setup_link(public_url, values["UBS_SETUP_TOKEN"])
    needed = json.loads(body)["needed"]
    key = values["UBS_BOOTSTRAP_API_KEY"]
    return Outcome("done", keys.closing_words(public_url, key, link if needed else None, ENDING))
