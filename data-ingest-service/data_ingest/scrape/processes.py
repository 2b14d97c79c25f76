"""CPU, memory, open files and threads of each of our services, as `cloudopshub_process_*`.

A service's processes are those of its pid file, with all their children. A counter does not fall
when a process ends: what ended processes used stays counted as long as this process lives.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.scrape.samples import Family

_FAMILIES: Final = {
    "cpu_seconds_total": "CPU time of the service's processes.",
    "resident_memory_bytes": "Resident memory of the service's processes.",
    "open_fds": "Open file descriptors of the service's processes.",
    "threads": "Threads of the service's processes.",
    "processes": "Processes of the service.",
}


class BadProcesses(ServiceError):
    """DIS_HOST_PROCESSES cannot be used"""

    kind = Kind.BAD_DATA


def parse(text: str) -> list[tuple[str, Path | None]]:
    """Service and pid file of each `service=/path/of.pid`; of an empty text this process alone.

    Raises BadProcesses, which quotes the entry.
    """
    rules: list[tuple[str, Path | None]] = []
    for item in filter(None, map(str.strip, text.split(","))):
        service, _, path = item.partition("=")
        if not service or not path:
            raise BadProcesses(detail=f"{item!r} is not service=/path/of.pid")
        rules.append((service, Path(path)))
    return rules or [("data-ingest-service", None)]


def processes_of(pid_file: Path | None) -> list[psutil.Process]:
    """The process of a pid file, or this one, and its descendants; none when there is none."""
    try:
        process = psutil.Process(int(pid_file.read_text()) if pid_file else None)
        return [process, *process.children(recursive=True)]
    except (OSError, ValueError, psutil.Error):
        return []


@dataclass(slots=True)
class Processes:
    """The collector of these services."""

    rules: list[tuple[str, Path | None]]
    find: Callable[[Path | None], Iterable[psutil.Process]] = processes_of
    _cpu_s: dict[tuple[str, int, float], float] = field(default_factory=dict)
    _ended_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def families(self) -> list[Family]:
        """Five families, each with one sample for every service that has a process."""
        used: dict[str, Counter[str]] = defaultdict(Counter)
        cpu_s: dict[tuple[str, int, float], float] = {}
        for service, pid_file in self.rules:
            for process in self.find(pid_file):
                with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                    times = process.cpu_times()
                    cpu_s[service, process.pid, process.create_time()] = times.user + times.system
                    row = used[service]
                    row["resident_memory_bytes"] += process.memory_info().rss
                    row["threads"] += process.num_threads()
                    row["processes"] += 1
                    with contextlib.suppress(psutil.AccessDenied, AttributeError):
                        row["open_fds"] += process.num_fds()
        for key in self._cpu_s.keys() - cpu_s.keys():
            self._ended_s[key[0]] += self._cpu_s[key]
        self._cpu_s = cpu_s
        total_s = self._ended_s.copy()
        for (service, _, _), spent_s in cpu_s.items():
            total_s[service] += spent_s
        return [
            Family(
                f"cloudopshub_process_{name}",
                "counter" if name.endswith("_total") else "gauge",
                text,
                [
                    ({"service": service}, total_s[service] if "cpu" in name else row[name])
                    for service, row in sorted(used.items())
                ],
            )
            for name, text in _FAMILIES.items()
        ]
