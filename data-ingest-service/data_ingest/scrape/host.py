"""The host's metrics with the names, types and labels of node_exporter, so that its dashboards fit.

    collector ── psutil, /proc ──▶ families     one that fails is reported, the others go on

On Linux the memory figures are those of /proc/meminfo, as in node_exporter; elsewhere psutil's.
Source: node_exporter collectors cpu, loadavg, meminfo, filesystem, diskstats, netdev, stat, time,
uname.
"""

import os
import platform
import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import structlog

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
# (suffix, psutil's field, help); psutil's times are milliseconds
_DISK: Final = (
    (
        "reads_completed_total",
        "read_count",
        "The total number of reads completed successfully.",
    ),
    ("reads_merged_total", "read_merged_count", "The total number of reads merged."),
    ("read_bytes_total", "read_bytes", "The total number of bytes read successfully."),
    ("read_time_seconds_total", "read_time", "The total number of seconds spent by all reads."),
    (
        "writes_completed_total",
        "write_count",
        "The total number of writes completed successfully.",
    ),
    ("writes_merged_total", "write_merged_count", "The number of writes merged."),
    ("written_bytes_total", "write_bytes", "The total number of bytes written successfully."),
    (
        "write_time_seconds_total",
        "write_time",
        "This is the total number of seconds spent by all writes.",
    ),
    ("io_time_seconds_total", "busy_time", "Total seconds spent doing I/Os."),
)
_NETWORK: Final = (
    ("receive_bytes_total", "bytes_recv"),
    ("transmit_bytes_total", "bytes_sent"),
    ("receive_packets_total", "packets_recv"),
    ("transmit_packets_total", "packets_sent"),
    ("receive_errs_total", "errin"),
    ("transmit_errs_total", "errout"),
    ("receive_drop_total", "dropin"),
    ("transmit_drop_total", "dropout"),
)

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
        durations: list[tuple[tuple[tuple[str, str], ...], float]] = []
        successes: list[tuple[tuple[tuple[str, str], ...], float]] = []
        for name, collect in self._collectors.items():
            started_s = time.perf_counter()
            try:
                families = collect()
            except (
                OSError,
                psutil.Error,
                RuntimeError,
                NotImplementedError,
                AttributeError,
            ) as error:
                families = []
                if name not in self._failing:
                    self._failing.add(name)
                    log.warning("host_collector_failed", collector=name, reason=str(error))
                successes.append(((("collector", name),), 0.0))
            else:
                self._failing.discard(name)
                successes.append(((("collector", name),), 1.0))
            collected += [family for family in families if family.samples]
            durations.append(((("collector", name),), time.perf_counter() - started_s))
        return [
            *collected,
            Family(
                "node_scrape_collector_duration_seconds",
                "gauge",
                "Duration of a collector scrape.",
                durations,
            ),
            Family(
                "node_scrape_collector_success",
                "gauge",
                "Whether a collector succeeded.",
                successes,
            ),
        ]


def cpu() -> list[Family]:
    """Seconds each CPU spent in each mode; guest time is counted in user time, as by the kernel."""
    samples = [
        ((("cpu", str(number)), ("mode", mode)), float(getattr(times, mode)))
        for number, times in enumerate(psutil.cpu_times(percpu=True))
        for mode in _CPU_MODES
        if hasattr(times, mode)
    ]
    return [
        Family("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.", samples)
    ]


def load() -> list[Family]:
    """Load averages over 1, 5 and 15 minutes."""
    return [
        gauge(f"node_load{minutes}", f"{minutes}m load average.", value)
        for minutes, value in zip((1, 5, 15), psutil.getloadavg(), strict=True)
    ]


def memory() -> list[Family]:
    """Memory in bytes."""
    sizes = meminfo(MEMINFO.read_text()) if MEMINFO.exists() else _psutil_memory()
    return [
        gauge(f"node_memory_{name}_bytes", f"Memory information field {name}_bytes.", size)
        for name, size in sizes.items()
    ]


def meminfo(text: str) -> dict[str, float]:
    """The fields of /proc/meminfo that node_exporter shows, in bytes."""
    return {
        name: float(size) * (1024 if unit else 1)
        for name, size, unit in _MEMINFO_LINE.findall(text)
        if _MEMINFO_KEPT.fullmatch(name)
    }


def _psutil_memory() -> dict[str, float]:
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    sizes = {"MemTotal": ram.total, "MemFree": ram.free, "MemAvailable": ram.available}
    return {
        name: float(size)
        for name, size in {**sizes, "SwapTotal": swap.total, "SwapFree": swap.free}.items()
    }


def filesystems() -> list[Family]:
    """Sizes of mounted file systems; the kernel's own are left out as in node_exporter.

    The overlay on `/` of a container is kept.
    """
    rows: dict[str, tuple[tuple[tuple[str, str], ...], dict[str, float]]] = {}
    for mount in psutil.disk_partitions(all=True):
        if not is_shown_filesystem(mount.fstype, mount.mountpoint):
            continue
        try:
            facts = os.statvfs(mount.mountpoint)
        except OSError:
            continue  # no permission, or unmounted since it was listed
        if facts.f_blocks == 0:
            continue
        labels = (
            ("device", mount.device),
            ("fstype", mount.fstype),
            ("mountpoint", mount.mountpoint),
        )
        rows[mount.mountpoint] = (labels, _sizes(facts, mount.opts))
    texts = {
        "size_bytes": "Filesystem size in bytes.",
        "free_bytes": "Filesystem free space in bytes.",
        "avail_bytes": "Filesystem space available to non-root users in bytes.",
        "files": "Filesystem total file nodes.",
        "files_free": "Filesystem total free file nodes.",
        "readonly": "Filesystem read-only status.",
    }
    return [
        Family(
            f"node_filesystem_{name}",
            "gauge",
            text,
            [(labels, sizes[name]) for labels, sizes in rows.values()],
        )
        for name, text in texts.items()
    ]


def is_shown_filesystem(fstype: str, mountpoint: str) -> bool:
    """Whether a mount is one an operator cares for."""
    if fstype == "overlay" and mountpoint == "/":
        return True
    return not _IGNORED_FILESYSTEMS.fullmatch(fstype) and not _IGNORED_MOUNTS.match(mountpoint)


def _sizes(facts: os.statvfs_result, options: str) -> dict[str, float]:
    return {
        "size_bytes": float(facts.f_blocks * facts.f_frsize),
        "free_bytes": float(facts.f_bfree * facts.f_frsize),
        "avail_bytes": float(facts.f_bavail * facts.f_frsize),
        "files": float(facts.f_files),
        "files_free": float(facts.f_ffree),
        "readonly": float("ro" in options.split(",")),
    }


def disks() -> list[Family]:
    """I/O of whole disks."""
    counters = {
        name: counted
        for name, counted in (psutil.disk_io_counters(perdisk=True) or {}).items()
        if not _IGNORED_DISKS.match(name)
    }
    return [
        Family(
            f"node_disk_{suffix}",
            "counter",
            text,
            [
                (
                    (("device", name),),
                    float(getattr(counted, field)) * (0.001 if "_seconds_" in suffix else 1.0),
                )
                for name, counted in counters.items()
                if hasattr(counted, field)
            ],
        )
        for suffix, field, text in _DISK
    ]


def network() -> list[Family]:
    """Traffic of each device, and whether it is up."""
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    traffic = [
        Family(
            f"node_network_{suffix}",
            "counter",
            f"Network device statistic {suffix.removesuffix('_total')}.",
            [
                ((("device", name),), float(getattr(counted, field)))
                for name, counted in counters.items()
            ],
        )
        for suffix, field in _NETWORK
    ]
    states = psutil.net_if_stats()
    ups = [((("device", name),), float(state.isup)) for name, state in states.items()]
    return [
        *traffic,
        Family("node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise.", ups),
    ]


def kernel() -> list[Family]:
    """Boot time, interrupts, context switches."""
    counted = psutil.cpu_stats()
    return [
        gauge("node_boot_time_seconds", "Node boot time, in unixtime.", psutil.boot_time()),
        Family(
            "node_context_switches_total",
            "counter",
            "Total number of context switches.",
            [((), float(counted.ctx_switches))],
        ),
        Family(
            "node_intr_total",
            "counter",
            "Total number of interrupts serviced.",
            [((), float(counted.interrupts))],
        ),
    ]


def clock() -> list[Family]:
    """The host's time, to compare with that of others."""
    return [gauge("node_time_seconds", "System time in seconds since epoch (1970).", time.time())]


def uname() -> list[Family]:
    """The host's operating system."""
    names: Any = platform.uname()
    labels = (
        ("domainname", "(none)"),
        ("machine", names.machine),
        ("nodename", names.node),
        ("release", names.release),
        ("sysname", names.system),
        ("version", names.version),
    )
    return [
        Family(
            "node_uname_info",
            "gauge",
            "Labeled system information as provided by the uname system call.",
            [(labels, 1.0)],
        )
    ]


def gauge(name: str, text: str, value: float) -> Family:
    """A gauge without labels."""
    return Family(name, "gauge", text, [((), float(value))])


COLLECTORS: Final[Mapping[str, Callable[[], list[Family]]]] = {
    "cpu": cpu,
    "loadavg": load,
    "meminfo": memory,
    "filesystem": filesystems,
    "diskstats": disks,
    "netdev": network,
    "stat": kernel,
    "time": clock,
    "uname": uname,
}
