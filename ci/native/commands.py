"""The commands of the platform on this machine: it is run, seen and ended, from any terminal."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

import click
import psutil

from ci import environments
from ci.catalogue import find
from ci.context import Context
from ci.errors import OutsideFault, Refused, UsageError
from ci.native import launcher, net, postgres, state
from ci.native.logs import Follower, render, tail
from ci.outcome import Outcome, columns

STOP_TIMEOUT_S = 45.0
LOG_LINES_FIRST = 40
HEADS = ("process", "pid", "port", "up for", "memory", "restarts", "ready")


@click.command()
def run(context: Context) -> Outcome:
    """The whole platform on this machine until Ctrl-C. Settings are variables: ci/README.md."""
    if context.dry_run:
        services = ", ".join(service.code for service in context.catalogue.services)
        text = f"would start PostgreSQL, {services} with data in {context.settings.data_dir}"
        return Outcome("done", text)
    launcher.main(context.catalogue, context.settings)
    return Outcome("done", "")


@click.command()
def ps(context: Context) -> Outcome:
    """What a run here consists of; exit code 4 when a part is not ready or nothing runs."""
    launcher_pid, file = state.launcher(context.settings.data_dir), context.settings.state_file
    if launcher_pid is None:
        raise OutsideFault("not running; `make run` starts it", status="not_running")
    run_state = state.read(file)
    if not run_state:
        raise OutsideFault(f"it runs (pid {launcher_pid}), and has not written {file}")
    urls = {s.code: f"{run_state['urls'][s.code]}{s.ready}" for s in context.catalogue.services}
    rows, facts = [HEADS], []
    for name, process in run_state["processes"].items():
        pid, url, port, up, memory_mb, why = process["pid"], urls.get(name), "", "", 0.0, None
        if child := _child(pid, launcher_pid):
            memory_mb = _memory_mb(child)
            up = str(timedelta(seconds=int(time.time() - process["started_at"])))
        else:
            why = f"pid {pid} has ended" if pid else "not running"
        if url:
            port = url.split(":")[2].split("/")[0]
            why = why or asyncio.run(net.not_ready(url))
        used, restarts = f"{memory_mb:.0f} MB", str(process["restarts"])
        rows.append((name, str(pid or "-"), port, up, used, restarts, why or "yes"))
        facts.append({"process": name, "pid": pid, "memory_mb": memory_mb, "not_ready": why})
    total_mb = sum(float(fact["memory_mb"]) for fact in facts)
    rows.append(("together", "", "", "", f"{total_mb:.0f} MB", "", ""))
    text = "\n".join([*columns(rows), "", f"{run_state['url']}/"])
    everything = {"url": run_state["url"], "processes": facts}
    if any(fact["not_ready"] for fact in facts):
        raise OutsideFault(text, status="not_ready", **everything)
    return Outcome("ready", text, everything)


def _child(pid: int | None, launcher_pid: int) -> psutil.Process | None:
    """The process, if it runs and the launcher started it: a file may be older than the truth."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid) if pid is not None else None
        if process and process.ppid() == launcher_pid and process.status() != "zombie":
            return process
    return None


def _memory_mb(leader: psutil.Process) -> float:
    """Memory of the process and its children in MB; a shared page counts in parts (PSS)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                full = member.memory_full_info()
                total += getattr(full, "pss", 0) or full.uss
    return total / 1e6


@click.command()
@click.argument("process", nargs=-1)
@click.option("--no-follow", is_flag=True, help="only what is there")
def logs(context: Context, process: Sequence[str], *, no_follow: bool) -> Outcome:
    """The logs of a run here, the last lines and then what comes.

    PROCESS: das das-rules dis aps aps-worker ubs ui postgres (all)
    """
    data_dir, screen = context.settings.data_dir, context.screen
    files = {path.stem: path for path in sorted((data_dir / "logs").glob("*.log"))}
    if missing := [name for name in process if name not in files]:
        raise UsageError(f"no log of {', '.join(missing)}; there are {', '.join(files) or 'none'}")
    followers = [Follower(name, files[name]) for name in process or files]
    shown = [(f, line) for f in followers for line in tail(f.path, LOG_LINES_FIRST)]
    while True:
        for follower, line in shown:
            screen.line(render(line, follower.name, colour=screen.has_colours))
        if no_follow or context.dry_run or not state.launcher(data_dir):
            return Outcome("done", "")
        time.sleep(0.2)
        shown = [(f, line) for f in followers for line in f.new_lines()]


@click.command()
def stop(context: Context) -> Outcome:
    """Stops a run here, from any terminal, and waits until nothing of it is left."""
    data_dir = context.settings.data_dir
    pid = state.launcher(data_dir)
    if pid is None:
        return Outcome("nothing", "not running")
    if context.dry_run:
        return Outcome("done", f"would stop the launcher (pid {pid}) and all it runs")
    with contextlib.suppress(ProcessLookupError):  # just ended
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while state.launcher(data_dir) == pid:
        if time.monotonic() > deadline:
            raise OutsideFault(f"the launcher (pid {pid}) has not stopped in time")
        time.sleep(0.1)
    return Outcome("done", "stopped")


@click.command()
@click.option("--yes", is_flag=True, help="do not ask")
def clean(context: Context, *, yes: bool) -> Outcome:
    """Deletes data, caches and environments of this checkout, after asking."""
    data_dir = context.settings.data_dir
    if state.launcher(data_dir):
        raise Refused("it is running; `make stop` first")
    made = [data_dir, context.settings.cache_dir]
    if data_dir.exists():
        server = postgres.Server.of_run(data_dir)
        made += {server.socket_dir, server.data_dir.parent} - {data_dir}
    for service in context.catalogue.services:
        made += [context.root / service.folder / name for name in (".venv", "dist")]
    there = [str(path) for path in made if path.exists()]
    if not there:
        return Outcome("nothing", "nothing to delete")
    listing = "\n".join(f"  {path}" for path in there)
    if context.dry_run:
        return Outcome("done", f"would delete\n{listing}")
    print(listing, file=sys.stderr)
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("this deletes data; say YES=1 to mean it")
        if input("Delete all of this, measurements and accounts included? [y/N] ").lower() != "y":
            return Outcome("nothing", "nothing deleted")
    for path in there:
        shutil.rmtree(path)
    return Outcome("done", "deleted", {"folders": there})


@click.command()
@click.argument("service", nargs=-1)
@click.option("--dev", is_flag=True, help="with the development tools")
def venvs(context: Context, service: Sequence[str], *, dev: bool) -> Outcome:
    """Makes the folders' environments from their hashed locks; current ones are left alone.

    SERVICE: folders or codes, ci (all)
    """
    listed = context.catalogue
    chosen = ["ci" if name == "ci" else find(listed, name).folder for name in service]
    folders = chosen or [*(service.folder for service in listed.services), "ci"]
    lock = environments.DEV if dev else environments.RUNTIME
    wanted = [f for f in folders if environments.wanted_lock(listed.root / f, lock)]
    facts = {"folders": wanted, "lock": lock}
    if context.dry_run:
        return Outcome("done", f"would make: {', '.join(wanted) or 'none'}", facts)
    asyncio.run(environments.make(listed.root, folders, lock, context.screen))
    return Outcome("done" if wanted else "nothing", "", facts)
