"""`make status`, `logs`, `stop` and `clean`: a run seen and ended from another terminal."""

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from ci.errors import OutsideFault, Refused, UsageError
from ci.model import Catalogue
from ci.native import net, postgres, state
from ci.native.logs import Follower, render, tail
from ci.outcome import Outcome
from ci.screen import Screen
from ci.settings import Settings

STOP_TIMEOUT_S = 45.0
LOG_LINES_FIRST = 40


def processes(catalogue: Catalogue, settings: Settings) -> Outcome:
    """The table of the run's processes; `OutsideFault` when one is not ready or none runs."""
    run = _state(settings)
    if run is None:
        raise OutsideFault("not running; `make run` starts it", status="not_running")
    if not run:
        raise OutsideFault(f"it runs, and could not write {settings.state_file}", status="unknown")
    probes = {s.code: f"{run['urls'][s.code]}{s.ready}" for s in catalogue.services}
    rows = [("process", "pid", "port", "up for", "memory", "restarts", "ready")]
    facts = []
    for name, process in run["processes"].items():
        pid, url = process["pid"], probes.get(name)
        why = not_running(pid, run["launcher"])
        if why is None and url:
            why = asyncio.run(net.not_ready(url))
        memory = None if not_running(pid, run["launcher"]) else memory_mb(pid)
        up = (
            ""
            if memory is None
            else str(timedelta(seconds=int(time.time() - process["started_at"])))
        )
        used = "" if memory is None else f"{memory:.0f} MB"
        port = url.split(":")[2].split("/")[0] if url else ""
        rows.append((name, str(pid or "-"), port, up, used, str(process["restarts"]), why or "yes"))
        facts.append({"process": name, "pid": pid, "memory_mb": memory, "not_ready": why})
    total = sum(fact["memory_mb"] or 0 for fact in facts)
    rows.append(("together", "", "", "", f"{total:.0f} MB", "", ""))
    text, everything = f"{table(rows)}\n\n{run['url']}/", {"url": run["url"], "processes": facts}
    if any(fact["not_ready"] for fact in facts):
        raise OutsideFault(text, status="not_ready", **everything)
    return Outcome("ready", text, everything)


def not_running(pid: int | None, launcher: int) -> str | None:
    """Why that child of the launcher does not run, whatever a file says; None when it does."""
    if pid is None:
        return "not running"
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.ppid() == launcher and process.status() != psutil.STATUS_ZOMBIE:
            return None
    return "this pid has ended, and no newer one could be written down"


def memory_mb(pid: int) -> float:
    """Memory of the process and its children in MB; a shared page counts in parts (PSS)."""
    total = 0
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for member in (leader, *leader.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                full = member.memory_full_info()
                total += getattr(full, "pss", 0) or full.uss
    return total / 1e6


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """`rows` in columns, the first row being the heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _state(settings: Settings) -> Mapping[str, Any] | None:
    """What the run here tells of itself; None when none runs."""
    return state.read(settings.state_file) if state.is_running(settings.data_dir) else None


def logs(settings: Settings, names: Sequence[str], *, follow: bool) -> Outcome:
    """Print the last lines of the logs, of `names` or all, and then what comes."""
    files = {path.stem: path for path in sorted((settings.data_dir / "logs").glob("*.log"))}
    chosen = names or list(files)
    if missing := [name for name in chosen if name not in files]:
        raise UsageError(f"no log of {', '.join(missing)}; there are {', '.join(files) or 'none'}")
    screen = Screen(colour=settings.colour)
    colour = settings.colour and screen.is_terminal
    followers = [Follower(name, files[name]) for name in chosen]
    for name in chosen:
        for line in tail(files[name], LOG_LINES_FIRST):
            screen.line(render(line, name, colour=colour))
    while follow and state.is_running(settings.data_dir):
        for follower in followers:
            for line in follower.new_lines():
                screen.line(render(line, follower.name, colour=colour))
        time.sleep(0.2)
    return Outcome("done", "")


def stop(settings: Settings, *, dry_run: bool = False) -> Outcome:
    """The run has ended and nothing of it is left; `nothing` when there was none."""
    run = _state(settings)
    if run is None:
        return Outcome("nothing", "not running")
    launcher = state.launcher(run)
    if launcher is None:
        raise OutsideFault(f"a run holds {settings.data_dir}, but its launcher is not there")
    if dry_run:
        return Outcome("done", f"would stop the launcher (pid {launcher.pid}) and all it runs")
    launcher.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while state.is_running(settings.data_dir):
        if time.monotonic() > deadline:
            raise OutsideFault(f"the launcher (pid {launcher.pid}) has not stopped in time")
        time.sleep(0.1)
    return Outcome("done", "stopped")


def clean(catalogue: Catalogue, settings: Settings, *, yes: bool, dry_run: bool = False) -> Outcome:
    """Data, caches and environments are gone, after a yes."""
    if state.is_running(settings.data_dir):
        raise Refused("it is running; `make stop` first")
    made = [settings.data_dir, settings.cache_dir]
    if settings.data_dir.exists():
        server = postgres.Server.of_run(settings.data_dir)
        made += {server.socket_dir, server.data_dir.parent} - {settings.data_dir}
    for service in catalogue.services:
        made += [catalogue.root / service.folder / name for name in (".venv", "dist")]
    there = [path for path in made if path.exists()]
    if not there:
        return Outcome("nothing", "nothing to delete")
    sizes = "\n".join(f"  {_size_mb(path):8.1f} MB  {path}" for path in there)
    if dry_run:
        return Outcome("done", f"would delete\n{sizes}")
    print(sizes, file=sys.stderr)
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("this deletes data; say YES=1 to mean it")
        if input("Delete all of this, measurements and accounts included? [y/N] ").lower() != "y":
            return Outcome("nothing", "nothing deleted")
    for path in there:
        shutil.rmtree(path)
    return Outcome("done", "deleted", {"folders": [str(path) for path in there]})


def _size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6
