"""One native run: its ports, addresses, secrets, processes, and what other terminals see of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ci.errors import Defect
from ci.model import Catalogue, Service
from ci.native import plan, probe, state
from ci.native.postgres import Place
from ci.native.supervisor import Program, Supervisor
from ci.screen import Screen
from ci.settings import Settings

ANYWHERE = {"0.0.0.0", "::"}


@dataclass
class Run:
    """A run so far. place: where its PostgreSQL lies, if it has its own."""

    catalogue: Catalogue
    settings: Settings
    screen: Screen
    supervisor: Supervisor = field(init=False)
    ports: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    place: Place | None = None
    phase: str = "starting"

    def __post_init__(self) -> None:
        """The supervisor reports through us."""
        self.supervisor = Supervisor(say=self._say, changed=self.publish)

    @property
    def services(self) -> tuple[Service, ...]:
        """The services of the catalogue."""
        return self.catalogue.services

    @property
    def pids(self) -> Path:
        """The folder of the pid files."""
        return self.settings.data_dir / "run"

    @property
    def urls(self) -> dict[str, str]:
        """What this machine reaches each service by, wherever else the page listens."""
        host = self.settings.host
        services = {code: f"http://{plan.LOOPBACK}:{port}" for code, port in self.ports.items()}
        page = plan.LOOPBACK if host in ANYWHERE else host
        return services | {"ui": f"http://{page}:{self.ports['ui']}"}

    @property
    def public_url(self) -> str:
        """What a browser on this machine calls the page by."""
        host = self.settings.host
        name = "localhost" if host in {plan.LOOPBACK, *ANYWHERE} else host
        return (self.settings.public_url or f"http://{name}:{self.ports['ui']}").rstrip("/")

    @property
    def setup_link(self) -> str:
        """The link that makes the first owner."""
        return plan.setup_link(self.public_url, self.secrets["UBS_SETUP_TOKEN"])

    @property
    def key(self) -> str:
        """The API key that is made at the first start."""
        return self.secrets["UBS_BOOTSTRAP_API_KEY"]

    def facts(self, database_url: str) -> plan.Facts:
        """What the environment of the services is made of."""
        settings = self.settings
        return plan.Facts(
            urls=self.urls,
            public_url=self.public_url,
            database_url=database_url,
            object_store_url=settings.object_store_url or (settings.data_dir / "objects").as_uri(),
            secrets=self.secrets,
            cache_dir=settings.cache_dir,
            pids=self.pids,
            inherited=plan.inherited(settings.passed_on),
        )

    def start(
        self,
        name: str,
        argv: tuple[str, ...],
        cwd: Path,
        env: Mapping[str, str],
        ready_url: str | None,
    ) -> None:
        """The process is kept running; it is ready when `ready_url` is, or when it has a pid."""

        async def not_ready() -> str | None:
            return await probe.not_ready(ready_url) if ready_url else None

        log = self.settings.data_dir / "logs" / f"{name}.log"
        self.supervisor.start(Program(name, argv, cwd, env, log, not_ready))

    def publish(self) -> None:
        """The state file and the pid files say what is true now."""
        children = self.supervisor.children.values()
        for child in children:
            state.write_pid(plan.pid_file(self.pids, child.program.name), child.pid)
        database = {}
        if self.place:
            database = {"url": self.place.url, "superuser_url": self.place.superuser_url}
        content = {
            "phase": self.phase,
            "launcher": os.getpid(),
            "launcher_created": psutil.Process().create_time(),
            "url": self.public_url,
            "urls": self.urls,
            "key": self.key,
            "setup_link": self.setup_link,
            "database": database,
            "processes": {
                child.program.name: {
                    "pid": child.pid,
                    "started_at": child.started_at,
                    "restarts": child.restarts,
                    "log": str(child.program.log),
                }
                for child in children
            },
        }
        state.write(self.settings.state_file, content)

    def check(self) -> None:
        """`Defect` when a process has proved unable to start."""
        for child in self.supervisor.children.values():
            if child.failure:
                raise Defect(child.failure)

    def _say(self, text: str) -> None:
        self.screen.line(f"  {self.screen.paint('!', '33')} {text}")
