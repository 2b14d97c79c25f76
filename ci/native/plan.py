"""What a native run starts, decided from facts: pure, so that a test can read it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci.model import Catalogue, Service

LOOPBACK = "127.0.0.1"
# An nginx built without its status module (the wheel's) serves this file as /metrics: that it
# answers is all that can be said of it.
BARE_METRICS = "# HELP nginx_up Whether nginx answers.\n# TYPE nginx_up gauge\nnginx_up 1\n"
STATUS_MODULE = "http_stub_status_module"
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
    metrics_paths: by service code, where this machine's differ from the catalogue's.
    """

    urls: Mapping[str, str]
    public_url: str
    database_url: str
    object_store_url: str
    secrets: Mapping[str, str]
    cache_dir: Path
    inherited: Mapping[str, str]
    metrics_paths: Mapping[str, str] = field(default_factory=dict)


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
        f"{service.folder}={facts.urls[service.code]}"
        f"{facts.metrics_paths.get(service.code, service.metrics)}"
        for service in catalogue.services
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
        "NUMBA_CACHE_DIR": str(facts.cache_dir / "numba"),
        **{f"{code.upper()}_URL": url for code, url in facts.urls.items()},
    }
    if service.code == "dis":
        env.setdefault("DIS_SCRAPE_TARGETS", scrape_targets(catalogue, facts))
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


def command(python: Path, module: str) -> tuple[str, ...]:
    """The argument list that runs `module` in the environment of `python`."""
    return (str(python), "-m", module)


@dataclass(frozen=True)
class Page:
    """How the page is served: by which nginx, from which folders, on which address."""

    nginx: Path
    runtime: Path
    dist: Path
    host: str
    port: int

    @property
    def conf(self) -> Path:
        """The nginx.conf; everything nginx writes goes beside it."""
        return self.runtime / "nginx.conf"

    def conf_command(self, python: Path, urls: Mapping[str, str]) -> list[str]:
        """The call of the page's own script that writes nginx.conf."""
        codes = ("das", "dis", "aps", "ubs")
        services = [text for code in codes for text in (f"--{code}", urls[code])]
        where = ["--out", str(self.conf), "--host", self.host, "--port", str(self.port)]
        program = ["--dist", str(self.dist), "--nginx", str(self.nginx)]
        return [str(python), "nginx_conf.py", *where, *program, *services]

    def command(self) -> tuple[str, ...]:
        """The argument list of nginx, which its nginx.conf keeps in the foreground."""
        return (str(self.nginx), "-p", str(self.runtime), "-e", "stderr", "-c", str(self.conf))


def schema_print(files: Mapping[str, bytes], cluster: str) -> str:
    """What a schema is known by: the migrations that made it, and the cluster it was made in."""
    digest = hashlib.sha256(cluster.encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def setup_link(public_url: str, token: str) -> str:
    """The one-time link that makes the first owner (docs/contracts.md §6)."""
    return f"{public_url}/#/setup/{token}"


def closing_words(public_url: str, key: str, link: str | None) -> str:
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

  Ctrl-C stops everything. From another terminal: make status, make logs, make stop.
  Below: what the processes log; requests that went well only show in `make logs`.
"""
