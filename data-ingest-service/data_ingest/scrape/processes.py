"""CPU, memory, open files and threads of each of our services, as `cloudopshub_process_*`.

A service's processes are those of its pid file, with all their children, or those whose command
line matches a pattern. A counter does not fall when a process ends: what ended processes used stays
counted as long as this process lives.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.scrape.samples import Family

PACKAGES: Final = {
    "data-api-service": "data_api",
    "data-ingest-service": "data_ingest",
    "analysis-processing-service": "analysis_processing",
    "user-billing-service": "user_billing",
}
DEFAULT: Final = ",".join(
    [
        *(rf"{service}=~ -m (uvicorn )?{package}\b" for service, package in PACKAGES.items()),
        "frontend-dashboard=~^nginx: ",
    ]
)


class BadProcesses(ServiceError):
    """DIS_HOST_PROCESSES cannot be used"""

    kind = Kind.BAD_DATA


@dataclass(frozen=True, slots=True)
class Rule:
    """How one service's processes are identified: exactly one of the two is set."""

    service: str
    pid_file: Path | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(slots=True)
class Usage:
    """What the processes of one service use together."""

    cpu_s: float = 0.0
    resident_bytes: float = 0.0
    open_fds: float = 0.0
    threads: float = 0.0
    processes: int = 0


def parse(text: str) -> list[Rule]:
    """The rules of `service=/path/of.pid,service=~pattern`; BadProcesses when one is neither."""
    rules = []
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        service, equals, how = item.partition("=")
        if not equals or not service or not how:
            raise BadProcesses(detail=f"{item!r} is not service=/path/of.pid or service=~pattern")
        if how.startswith("~"):
            try:
                rules.append(Rule(service, pattern=re.compile(how[1:])))
            except re.error as exc:
                raise BadProcesses(detail=f"{how[1:]!r} is not a pattern: {exc}") from exc
        else:
            rules.append(Rule(service, pid_file=Path(how)))
    return rules


@dataclass(slots=True)
class Processes:
    """The collector; `list_all` gives every process of the host."""

    rules: list[Rule]
    list_all: Callable[[], Iterable[psutil.Process]] = psutil.process_iter
    _cpu_s: dict[str, dict[tuple[int, float], float]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _ended_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _service_of: dict[tuple[int, float], str | None] = field(default_factory=dict)

    def families(self) -> list[Family]:
        """Five families, each with one sample for every service that was measured."""
        usage = {
            service: self._measure(service, listed) for service, listed in self._find().items()
        }
        shown = [
            ("cpu_seconds_total", "counter", "CPU time of the service's processes.", "cpu_s"),
            (
                "resident_memory_bytes",
                "gauge",
                "Resident memory of the service's processes.",
                "resident_bytes",
            ),
            ("open_fds", "gauge", "Open file descriptors of the service's processes.", "open_fds"),
            ("threads", "gauge", "Threads of the service's processes.", "threads"),
            ("processes", "gauge", "Processes of the service.", "processes"),
        ]
        return [
            Family(
                f"cloudopshub_process_{name}",
                kind,
                text,
                [
                    ((("service", service),), float(getattr(used, attribute)))
                    for service, used in sorted(usage.items())
                ],
            )
            for name, kind, text, attribute in shown
        ]

    def _find(self) -> dict[str, list[psutil.Process]]:
        by_service: dict[str, dict[int, psutil.Process]] = defaultdict(dict)
        for rule in self.rules:
            if rule.pid_file is not None:
                for process in _family_of(rule.pid_file):
                    by_service[rule.service][process.pid] = process
        if any(rule.pattern for rule in self.rules):
            alive: dict[tuple[int, float], str | None] = {}
            owners: dict[int, str | None] = {}
            for process in self.list_all():
                with contextlib.suppress(psutil.Error, OSError):
                    process_id = (process.pid, process.create_time())
                    if process_id in self._service_of:
                        service = self._service_of[process_id]
                    else:  # a child with another command line belongs to its parent's service
                        service = self._match_pattern(process) or owners.get(process.ppid())
                    owners[process.pid] = service
                    alive[process_id] = service
                    if service is not None:
                        by_service[service][process.pid] = process
            self._service_of = alive
        return {service: list(processes.values()) for service, processes in by_service.items()}

    def _match_pattern(self, process: psutil.Process) -> str | None:
        line = " ".join(process.cmdline())
        for rule in self.rules:
            if rule.pattern is not None and line and rule.pattern.search(line):
                return rule.service
        return None

    def _measure(self, service: str, processes: list[psutil.Process]) -> Usage:
        used = Usage()
        cpu_s: dict[tuple[int, float], float] = {}
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess), process.oneshot():
                times = process.cpu_times()
                cpu_s[process.pid, process.create_time()] = times.user + times.system
                used.resident_bytes += process.memory_info().rss
                used.threads += process.num_threads()
                used.processes += 1
                with contextlib.suppress(psutil.AccessDenied, AttributeError):
                    used.open_fds += process.num_fds()
        before = self._cpu_s[service]
        self._ended_s[service] += sum(
            spent_s for process_id, spent_s in before.items() if process_id not in cpu_s
        )
        self._cpu_s[service] = cpu_s
        used.cpu_s = self._ended_s[service] + sum(cpu_s.values())
        return used


def _family_of(pid_file: Path) -> list[psutil.Process]:
    """The process of a pid file and its descendants; none when there is no such process."""
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        return [process, *process.children(recursive=True)]
    except (OSError, ValueError, IndexError, psutil.Error):
        return []
