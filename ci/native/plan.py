"""What a native run starts, decided from facts: pure, so that a test can read it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ci.model import Catalogue, Service

LOOPBACK = "127.0.0.1"
INHERITED = (
    # what a program needs of the machine; everything else it gets from us
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy"),
)
INHERITED_PREFIXES = ("OTEL_", "AWS_", "DAS_", "DIS_", "APS_", "UBS_", "NUMBA_", "OBJECT_STORE_")


@dataclass(frozen=True)
class Facts:
    """All that the environment of a run's processes is made of.

    urls: by service code, what the others call. public_url: what a browser calls.
    pids: the folder of the pid files.
    """

    urls: Mapping[str, str]
    public_url: str
    database_url: str
    object_store_url: str
    secrets: Mapping[str, str]
    cache_dir: Path
    pids: Path
    inherited: Mapping[str, str]


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that is passed on to the services."""
    return {
        name: value
        for name, value in environ.items()
        if name in {*INHERITED, "LOG_LEVEL"} or name.startswith(INHERITED_PREFIXES)
    }


def scrape_targets(catalogue: Catalogue, facts: Facts) -> str:
    """What dis scrapes of the hub itself: `name=url` pairs, one for each service."""
    return ",".join(
        f"{service.folder}={facts.urls[service.code]}{service.metrics}"
        for service in catalogue.services
    )


def pid_file(pids: Path, process: str) -> Path:
    """The file that holds the pid of that process while it runs."""
    return pids / f"{process}.pid"


def host_processes(catalogue: Catalogue, pids: Path) -> str | None:
    """Where dis finds the processes of this run and of no other: `folder=/path/of.pid` pairs.

    None where the path cannot be said in that form: dis then looks at command lines.
    """
    if "," in str(pids):
        return None
    return ",".join(
        f"{service.folder}={pid_file(pids, name)}"
        for service in catalogue.services
        for name in service.processes
    )


def environment(catalogue: Catalogue, service: Service, port: int, facts: Facts) -> dict[str, str]:
    """The environment of a service's processes. A secret goes to who needs it, nobody else."""
    env = {
        "LOG_LEVEL": "info",
        **facts.inherited,
        "HOST": LOOPBACK,
        "PORT": str(port),
        "DATABASE_URL": facts.database_url,
        "OBJECT_STORE_URL": facts.object_store_url,
        "SERVICE_TOKEN": facts.secrets["SERVICE_TOKEN"],
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "",
        **numba_cache(facts.cache_dir),
        **{f"{code.upper()}_URL": url for code, url in facts.urls.items()},
    }
    if service.code == "dis":
        targets = (env.get("DIS_SCRAPE_TARGETS"), scrape_targets(catalogue, facts))
        env["DIS_SCRAPE_TARGETS"] = ",".join(filter(None, targets))
        if (processes := host_processes(catalogue, facts.pids)) is not None:
            env.setdefault("DIS_HOST_PROCESSES", processes)
    if service.code == "ubs":
        secrets = {name: value for name, value in facts.secrets.items() if name.startswith("UBS_")}
        env |= secrets | {"UI_PUBLIC_URL": facts.public_url}
        env.setdefault("UBS_PLAIN_HTTP", str(facts.public_url.startswith("http://")).lower())
    else:
        env = {name: value for name, value in env.items() if not _is_foreign(name, service)}
    return env


def _is_foreign(name: str, service: Service) -> bool:
    """Whether `name` is a setting of another service; the URLs are everybody's."""
    owners = ("DAS_", "DIS_", "APS_", "UBS_")
    mine = f"{service.code.upper()}_"
    return name.startswith(owners) and not name.startswith(mine) and not name.endswith("_URL")


def numba_cache(cache_dir: Path) -> dict[str, str]:
    """Where compiled kernels are kept: the same for who makes and who uses them."""
    return {"NUMBA_CACHE_DIR": str(cache_dir / "numba")}


def schema_print(files: Mapping[str, bytes], cluster: str) -> str:
    """What a schema is known by: the migrations that made it, and the cluster it was made in."""
    digest = hashlib.sha256(cluster.encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def kernels_print(environment: str, sources: Mapping[str, tuple[int, int]]) -> str:
    """What compiled kernels are known by: their environment, and what numba looks at in a source.

    sources: by path, the time of the last change in nanoseconds and the size.
    """
    return hashlib.sha256(repr((environment, sorted(sources.items()))).encode()).hexdigest()


def setup_link(public_url: str, token: str) -> str:
    """The one-time link that makes the first owner (docs/contracts.md §6)."""
    return f"{public_url}/#/setup/{quote(token, safe='')}"


ENDING = """\
  Ctrl-C stops everything. From another terminal: make status, make logs, make stop.
  Below: what the processes log; requests that went well only show in `make logs`.
"""


def closing_words(public_url: str, key: str, link: str | None, ending: str = ENDING) -> str:
    """What a person needs once everything is ready."""
    first = f"\n  First sign-in  {link}   (once; makes you the owner)" if link else ""
    return f"""
  CloudOpsHub is ready
{first}
  Dashboard      {public_url}/
  API key        {key}   (write, read, analyse)

  Ask it something:
    curl -s -H 'Authorization: Bearer {key}' \\
      '{public_url}/api/data-api-service/api/v1/query?query=up'

  Send it your Prometheus (prometheus.yml):
    remote_write:
      - url: {public_url}/api/data-ingest-service/api/v1/write
        authorization:
          credentials: {key}

{ending}"""
