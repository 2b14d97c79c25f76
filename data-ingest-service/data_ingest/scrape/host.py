"""The host's metrics with the names, types and labels of node_exporter, so that its dashboards fit.

    collector ── psutil, /proc ──▶ families     one that fails is reported, the others go on

On Linux the memory figures are those of /proc/meminfo, as in node_exporter; elsewhere psutil's.
Source: node_exporter collectors cpu, loadavg, meminfo, filesystem, diskstats, netdev, time, uname.
"""

import contextlib
import os
import platform
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import structlog

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.scrape.samples import Family

MEMINFO: Final = Path("/proc/meminfo")
_IGNORED_FILESYSTEMS: Final = re.compile(
    r"autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660"
    r"|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs"
    r"|tracefs"
)
_IGNORED_MOUNTS: Final = re.compile(
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
_IGNORED_DISKS: Final = re.compile(r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$")
_CPU_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMINFO_LINE: Final = re.compile(r"^([\w()]+):\s+(\d+)( kB)?$", re.MULTILINE)
_MEMINFO_KEPT: Final = re.compile(
    r"Mem(Total|Free|Available)|Buffers|Cached|Active|Inactive|Swap(Cached|Total|Free)|Dirty"
    r"|Writeback|AnonPages|Mapped|Shmem|KReclaimable|Slab|SReclaimable|SUnreclaim|KernelStack"
    r"|PageTables|CommitLimit|Committed_AS"
)
# psutil's field by the name that node_exporter gives it; psutil's times are milliseconds
_DISK: Final = {
    "reads_completed": "read_count",
    "reads_merged": "read_merged_count",
    "read_bytes": "read_bytes",
    "read_time_seconds": "read_time",
    "writes_completed": "write_count",
    "writes_merged": "write_merged_count",
    "written_bytes": "write_bytes",
    "write_time_seconds": "write_time",
    "io_time_seconds": "busy_time",
}
_NETWORK: Final = {
    "receive_bytes": "bytes_recv",
    "transmit_bytes": "bytes_sent",
    "receive_packets": "packets_recv",
    "transmit_packets": "packets_sent",
    "receive_errs": "errin",
    "transmit_errs": "errout",
    "receive_drop": "dropin",
    "transmit_drop": "dropout",
}

_PROCESSES: Final = {
    "cpu_seconds_total": "CPU time of the service's processes.",
    "resident_memory_bytes": "Resident memory of the service's processes.",
    "open_fds": "Open file descriptors of the service's processes.",
    "threads": "Threads of the service's processes.",
    "processes": "Processes of the service.",
}

log = structlog.get_logger()


def instance() -> str:
    """The host's name, the `instance` of its series."""
    return socket.gethostname() or "localhost"


class Host:
    """Runs all collectors; keeps the names of those that fail, to log each failure once."""

    def __init__(self, more: Mapping[str, Callable[[], list[Family]]] | None = None) -> None:
        self._collectors = {**COLLECTORS, **(more or {})}
        self._failing: set[str] = set()

    def families(self) -> list[Family]:
        """All that could be collected, and how each collector did. Blocks: run it in a thread."""
        collected: list[Family] = []
        successes: list[tuple[Mapping[str, str], float]] = []
        for name, collect in self._collectors.items():
            try:
                collected += [family for family in collect() if family.samples]
            except (OSError, psutil.Error, RuntimeError, AttributeError) as error:
                if name not in self._failing:
                    self._failing.add(name)
                    log.warning("host_collector_failed", collector=name, reason=str(error))
            else:
                self._failing.discard(name)
            successes.append(({"collector": name}, name not in self._failing))
        text = "Whether a collector succeeded."
        return [*collected, Family("node_scrape_collector_success", "gauge", text, successes)]


def cpu() -> list[Family]:
    """Seconds each CPU spent in each mode; guest time is counted in user time, as by the kernel."""
    samples = [
        ({"cpu": str(number), "mode": mode}, getattr(times, mode))
        for number, times in enumerate(psutil.cpu_times(percpu=True))
        for mode in _CPU_MODES
        if hasattr(times, mode)
    ]
    text = "Seconds the CPUs spent in each mode."
    return [Family("node_cpu_seconds_total", "counter", text, samples)]


def load() -> list[Family]:
    """Load averages over 1, 5 and 15 minutes."""
    return [
        single(f"node_load{minutes}", f"{minutes}m load average.", value)
        for minutes, value in zip((1, 5, 15), psutil.getloadavg(), strict=True)
    ]


def memory() -> list[Family]:
    """Memory in bytes."""
    if MEMINFO.exists():
        sizes = meminfo(MEMINFO.read_text())
    else:
        ram, swap = psutil.virtual_memory(), psutil.swap_memory()
        sizes = {"MemTotal": ram.total, "MemFree": ram.free, "MemAvailable": ram.available}
        sizes |= {"SwapTotal": swap.total, "SwapFree": swap.free}
    return [
        single(f"node_memory_{name}_bytes", f"Memory information field {name}_bytes.", size)
        for name, size in sizes.items()
    ]


def meminfo(text: str) -> dict[str, float]:
    """The fields of /proc/meminfo that node_exporter shows, in bytes."""
    return {
        name: float(size) * (1024 if unit else 1)
        for name, size, unit in _MEMINFO_LINE.findall(text)
        if _MEMINFO_KEPT.fullmatch(name)
    }


def filesystems() -> list[Family]:
    """Sizes of mounted file systems; the kernel's own are left out as in node_exporter.

    The overlay on `/` of a container is kept.
    """
    rows: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for mount in {one.mountpoint: one for one in psutil.disk_partitions(all=True)}.values():
        if not is_shown_filesystem(mount.fstype, mount.mountpoint):
            continue
        try:
            facts = os.statvfs(mount.mountpoint)
        except OSError:
            continue  # no permission, or unmounted since it was listed
        labels = {"device": mount.device, "fstype": mount.fstype, "mountpoint": mount.mountpoint}
        sizes = {
            "size_bytes": facts.f_blocks * facts.f_frsize,
            "free_bytes": facts.f_bfree * facts.f_frsize,
            "avail_bytes": facts.f_bavail * facts.f_frsize,
            "files": facts.f_files,
            "files_free": facts.f_ffree,
            "readonly": "ro" in mount.opts.split(","),
        }
        for name, size in sizes.items() if facts.f_blocks else ():
            rows.setdefault(name, []).append((labels, size))
    return [
        Family(f"node_filesystem_{name}", "gauge", f"Filesystem statistic {name}.", samples)
        for name, samples in rows.items()
    ]


def is_shown_filesystem(fstype: str, mountpoint: str) -> bool:
    """Whether a mount is one an operator cares for."""
    if fstype == "overlay" and mountpoint == "/":
        return True
    return not _IGNORED_FILESYSTEMS.fullmatch(fstype) and not _IGNORED_MOUNTS.match(mountpoint)


def disks() -> list[Family]:
    """I/O of whole disks."""
    counters = psutil.disk_io_counters(perdisk=True) or {}
    whole = {name: one for name, one in counters.items() if not _IGNORED_DISKS.match(name)}
    return _of_devices("disk", _DISK, whole)


def network() -> list[Family]:
    """Traffic of each device, and whether it is up."""
    traffic = psutil.net_io_counters(pernic=True, nowrap=False)
    ups = [({"device": name}, state.isup) for name, state in psutil.net_if_stats().items()]
    text = "Value is 1 if operstate is 'up', 0 otherwise."
    families = _of_devices("network", _NETWORK, traffic)
    return [*families, Family("node_network_up", "gauge", text, ups)]


def _of_devices(kind: str, fields: Mapping[str, str], counters: Mapping[str, Any]) -> list[Family]:
    """A counter for each field that the counters of the devices have."""
    return [
        Family(
            f"node_{kind}_{name}_total",
            "counter",
            f"{kind.capitalize()} device statistic {name}.",
            [
                (
                    {"device": device},
                    getattr(counted, field) * (0.001 if name.endswith("_seconds") else 1),
                )
                for device, counted in counters.items()
                if hasattr(counted, field)
            ],
        )
        for name, field in fields.items()
    ]


def clock() -> list[Family]:
    """The host's time, to compare with that of others, and when it started."""
    return [
        single("node_boot_time_seconds", "Node boot time, in unixtime.", psutil.boot_time()),
        single("node_time_seconds", "System time in seconds since epoch (1970).", time.time()),
    ]


def uname() -> list[Family]:
    """The host's operating system."""
    names = platform.uname()
    labels = {
        "domainname": "(none)",
        "machine": names.machine,
        "nodename": names.node,
        "release": names.release,
        "sysname": names.system,
        "version": names.version,
    }
    return [Family("node_uname_info", "gauge", "What the uname system call says.", [(labels, 1)])]


def single(name: str, text: str, value: float) -> Family:
    """A gauge without labels."""
    return Family(name, "gauge", text, [({}, value)])


COLLECTORS: Final[Mapping[str, Callable[[], list[Family]]]] = {
    "cpu": cpu,
    "loadavg": load,
    "meminfo": memory,
    "filesystem": filesystems,
    "diskstats": disks,
    "netdev": network,
    "time": clock,
    "uname": uname,
}


class BadProcesses(ServiceError):
    """DIS_HOST_PROCESSES cannot be used"""

    kind = Kind.BAD_DATA


def parse_services(text: str) -> list[tuple[str, Path | None]]:
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
    """CPU, memory, open files and threads of our services, as `cloudopshub_process_*`.

    A service's processes are those of its pid file, with all their children. A counter does not
    fall when a process ends: what ended processes used stays counted as long as this one lives.
    """

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
            for name, text in _PROCESSES.items()
        ]
