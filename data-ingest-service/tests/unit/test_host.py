"""Laws of the host's metrics: node_exporter's names and meanings, and what our processes cost."""

import contextlib
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_ingest.scrape import host
from data_ingest.scrape.host import BadProcesses, Host, Processes
from data_ingest.scrape.samples import Family


def test_the_host_has_node_exporters_families() -> None:
    """The families an operator's dashboards ask for are there, with node_exporter's types, and no
    collector failed.
    """
    families = {family.name: family for family in Host().families()}
    for name, kind in {
        "node_cpu_seconds_total": "counter",
        "node_load1": "gauge",
        "node_load15": "gauge",
        "node_memory_MemTotal_bytes": "gauge",
        "node_memory_MemFree_bytes": "gauge",
        "node_network_receive_bytes_total": "counter",
        "node_network_transmit_bytes_total": "counter",
        "node_boot_time_seconds": "gauge",
        "node_time_seconds": "gauge",
        "node_uname_info": "gauge",
    }.items():
        assert families[name].type == kind, name
        assert families[name].samples, name
    assert all(value == 1.0 for _, value in families["node_scrape_collector_success"].samples)
    modes = {dict(labels)["mode"] for labels, _ in families["node_cpu_seconds_total"].samples}
    assert {"user", "system", "idle", "nice"} <= modes
    assert len({family.name for family in families.values()}) == len(families)


def test_one_collector_that_fails_leaves_the_others() -> None:
    """A collector that cannot read its part says so and nothing else is missing."""

    def broken() -> list[Family]:
        raise PermissionError("no")

    families = {family.name: family for family in Host({"broken": broken}).families()}
    successes = {
        dict(labels)["collector"]: value
        for labels, value in families["node_scrape_collector_success"].samples
    }
    assert successes.pop("broken") == 0.0
    assert set(successes.values()) == {1.0}


def test_meminfo() -> None:
    """Sizes are bytes; what is not a size operators ask for is left out."""
    text = "MemTotal:    16 kB\nActive(anon):  3 kB\nHugePages_Total:    5\nCached:      2 kB\n"
    assert host.meminfo(text) == {"MemTotal": 16384.0, "Cached": 2048.0}


@pytest.mark.parametrize(
    ("fstype", "mountpoint", "shown"),
    [
        ("ext4", "/", True),
        ("xfs", "/var/lib/docker-data", True),
        ("overlay", "/", True),
        ("tmpfs", "/run", True),
        ("overlay", "/var/lib/docker/overlay2/x/merged", False),
        ("proc", "/proc", False),
        ("tmpfs", "/dev/shm", False),
        ("ext4", "/sys/x", False),
        ("ext4", "/system", True),
    ],
)
def test_which_file_systems_are_shown(fstype: str, mountpoint: str, shown: bool) -> None:
    """The kernel's own file systems are left out; the root of a container is not."""
    assert host.is_shown_filesystem(fstype, mountpoint) == shown


class FakeProcess:
    """A process as psutil shows it."""

    def __init__(self, pid: int, cpu_s: float) -> None:
        self.pid, self.cpu_s = pid, cpu_s

    def create_time(self) -> float:
        return 100.0 + self.pid

    def oneshot(self) -> Any:
        return contextlib.nullcontext()

    def cpu_times(self) -> Any:
        return type("Times", (), {"user": self.cpu_s, "system": 1.0})

    def memory_info(self) -> Any:
        return type("Memory", (), {"rss": 1000})

    def num_threads(self) -> int:
        return 2

    def num_fds(self) -> int:
        raise psutil.AccessDenied(self.pid)


def _shown(collector: Processes) -> dict[str, dict[str, float]]:
    shown: dict[str, dict[str, float]] = {}
    for family in collector.families():
        for labels, value in family.samples:
            short = family.name.removeprefix("cloudopshub_process_")
            shown.setdefault(dict(labels)["service"], {})[short] = value
    return shown


def test_the_cpu_counter_of_a_service_never_falls() -> None:
    """The processes of a service are summed; when one ends, what it used stays counted."""
    everything: list[Any] = [FakeProcess(10, 5.0), FakeProcess(11, 2.0)]
    collector = Processes([("s", None)], lambda _: everything)
    assert _shown(collector) == {
        "s": {
            "cpu_seconds_total": 9.0,
            "resident_memory_bytes": 2000.0,
            "open_fds": 0.0,
            "threads": 4.0,
            "processes": 2.0,
        }
    }
    del everything[0]
    everything[0].cpu_s = 4.0
    assert _shown(collector)["s"]["cpu_seconds_total"] == 11.0


def test_a_service_is_found_by_its_pid_file(tmp_path: Path) -> None:
    """A pid file names a process; one that is missing, empty or of nobody is no error. Without
    any, this process is measured.
    """
    mine = tmp_path / "mine.pid"
    mine.write_text(f"{psutil.Process().pid}\n")
    (tmp_path / "empty.pid").write_text("")
    rules = f"me={mine},gone={tmp_path}/none.pid,empty={tmp_path}/empty.pid"
    for text, service in ((rules, "me"), ("", "data-ingest-service")):
        shown = _shown(Processes(host.parse_services(text)))
        assert set(shown) == {service}
        assert shown[service]["resident_memory_bytes"] > 0


@pytest.mark.parametrize("text", ["x", "=y", "x="])
def test_bad_process_rules(text: str) -> None:
    """A rule that cannot be followed stops the start and is quoted."""
    with pytest.raises(BadProcesses, match="DIS_HOST_PROCESSES"):
        host.parse_services(text)
