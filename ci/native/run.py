"""One native run: its addresses, the environment of its processes, and what other terminals see."""

import os
from dataclasses import dataclass, field

from ci.context import Settings
from ci.model import Catalogue, Service
from ci.native import keys, net, state
from ci.native.postgres import Server
from ci.native.supervisor import Supervisor
from ci.screen import Screen

LOOPBACK = "127.0.0.1"
ANYWHERE = {"0.0.0.0", "::"}
INHERITED = (
    # what a program needs of the machine; everything else it gets from us
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "LOG_LEVEL"),
)
OWN_PREFIXES = ("DAS_", "DIS_", "APS_", "UBS_")
# glibc keeps what threads freed in up to 8 arenas a core, Arrow's own pool keeps more: ADR 25
ALLOCATORS = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
INHERITED_PREFIXES = (*OWN_PREFIXES, "OTEL_", "AWS_", "NUMBA_", "OBJECT_STORE_")


@dataclass
class Run:
    """A run so far. urls: of each service on this machine; public_url: what browsers call it."""

    catalogue: Catalogue
    settings: Settings
    screen: Screen
    supervisor: Supervisor = field(init=False)
    secrets: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    public_url: str = ""
    server: Server | None = None
    phase: str = "starting"

    def __post_init__(self) -> None:
        """The supervisor reports through us."""
        mark = self.screen.paint("!", "33")
        self.supervisor = Supervisor(
            say=lambda text: self.screen.line(f"  {mark} {text}"), write_state=self._write_state
        )

    def choose_addresses(self) -> None:
        """Ports and URLs are known; `OutsideFault` when a port cannot be had."""
        settings, services = self.settings, self.catalogue.services
        hosts = {s.code: settings.host if s.code == "ui" else LOOPBACK for s in services}
        self.ports = net.choose_ports(services, settings.ports, hosts)
        self.urls = {
            code: f"http://{LOOPBACK if host in ANYWHERE else host}:{self.ports[code]}"
            for code, host in hosts.items()
        }
        public = self.urls["ui"].replace(LOOPBACK, "localhost")
        self.public_url = (settings.passed_on.get("UI_PUBLIC_URL") or public).rstrip("/")

    @property
    def setup_link(self) -> str:
        """The link that makes the first owner."""
        return keys.setup_link(self.public_url, self.secrets["UBS_SETUP_TOKEN"])

    def inherited(self) -> dict[str, str]:
        """The part of our environment that is passed on to the services."""
        return {
            name: value
            for name, value in self.settings.passed_on.items()
            if name in INHERITED or name.startswith(INHERITED_PREFIXES)
        } | {"NUMBA_CACHE_DIR": str(self.settings.cache_dir / "numba")}

    def environment(self, service: Service, database_url: str) -> dict[str, str]:
        """The environment of a service's processes. A secret goes to who needs it, nobody else."""
        given, objects = self.settings.passed_on, self.settings.data_dir / "objects"
        env = {
            **ALLOCATORS,
            "LOG_LEVEL": "info",
            **self.inherited(),
            "HOST": LOOPBACK,
            "PORT": str(self.ports[service.code]),
            "DATABASE_URL": database_url,
            "OBJECT_STORE_URL": given.get("OBJECT_STORE_URL") or objects.as_uri(),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            **{f"{code.upper()}_URL": url for code, url in self.urls.items()},
            **keys.of_service(service.code, self.secrets),
        }
        others = tuple(prefix for prefix in OWN_PREFIXES if prefix != f"{service.code.upper()}_")
        env = {n: v for n, v in env.items() if not n.startswith(others) or n.endswith("_URL")}
        if service.code == "dis":
            own, services = env.get("DIS_SCRAPE_TARGETS"), self.catalogue.services
            targets = [f"{s.folder}={self.urls[s.code]}{s.metrics}" for s in services]
            env["DIS_SCRAPE_TARGETS"] = ",".join([own, *targets] if own else targets)
            pids = self.settings.data_dir / "run"
            if "," not in str(pids):  # else dis measures itself alone
                files = [f"{s.folder}={pids / name}.pid" for s in services for name in s.processes]
                env.setdefault("DIS_HOST_PROCESSES", ",".join(files))
        if service.code in {"das", "ubs"}:
            env["UI_PUBLIC_URL"] = self.public_url
        if service.code == "ubs":
            env.setdefault("UBS_PLAIN_HTTP", str(self.public_url.startswith("http://")).lower())
            if self.public_url.startswith(("http://localhost:", "http://127.0.0.1:")):
                env.setdefault("UBS_MAIL", "console")
        return env

    def _write_state(self) -> None:
        """The state file and the pid files say what is true now."""
        children, server = self.supervisor.children, self.server
        for name, child in children.items():
            file = self.settings.data_dir / "run" / f"{name}.pid"
            if child.pid is None:
                file.unlink(missing_ok=True)
            else:
                state.replace(file, f"{child.pid}\n")
        about = ("pid", "started_at", "restarts")
        content = {
            "phase": self.phase,
            "launcher": os.getpid(),
            "url": self.public_url,
            "urls": self.urls,
            "key": self.secrets["UBS_BOOTSTRAP_API_KEY"],
            "setup_link": self.setup_link,
            "database": {"superuser_url": server.url()} if server else {},
            "processes": {
                name: {"log": str(child.log)} | {key: getattr(child, key) for key in about}
                for name, child in children.items()
            },
        }
        state.write(self.settings.state_file, content)
