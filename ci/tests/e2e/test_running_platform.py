"""The whole platform from outside: what is acknowledged is there, whatever dies meanwhile."""

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest
from native_platform import ROOT, NativePlatform, all_gone, eventually

from ci.tests import embedded_postgres as pg

PROCESSES = ("das", "das-rules", "dis", "aps", "aps-worker", "ubs", "ui", "postgres")


def samples_of(platform, selector):
    """(timestamp ms, value) of all samples of the selector's only series in the last 15 minutes."""
    result = platform.query(f"{selector}[15m]")
    assert len(result) <= 1
    return [(round(t * 1000), float(v)) for t, v in result[0]["values"]] if result else []


class Writer(threading.Thread):
    """Sends one sample after the other, each again until it is acknowledged, as agents do."""

    def __init__(self, platform, name):
        super().__init__(daemon=True)
        self.platform, self.metric = platform, name
        self.acknowledged = []
        self.refused = []
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            sample = (time.time_ns() // 1_000_000, float(len(self.acknowledged)))
            while not self.stopped.is_set():
                status = self.platform.write({"__name__": self.metric, "job": "e2e"}, [sample])
                if status == 204:
                    self.acknowledged.append(sample)
                    break
                if 400 <= status < 500 and status != 429:
                    self.refused.append((sample, status))
                    break
                time.sleep(0.05)
            time.sleep(0.002)


def test_what_is_written_is_read_back_bit_for_bit(platform):
    """Real remote_write bytes go in through the public door; PromQL gives the same values back."""
    now_ms = time.time_ns() // 1_000_000
    values = [0.1, -1e300, 5e-324, 12345678.9, 1 / 3]
    samples = [(now_ms - (len(values) - i) * 1000, value) for i, value in enumerate(values)]
    labels = {"__name__": "e2e_round_trip", "job": "e2e", "city": "Łódź"}
    assert platform.write(labels, samples) == 204
    assert samples_of(platform, 'e2e_round_trip{city="Łódź"}') == samples
    total = platform.query("sum(count_over_time(e2e_round_trip[5m]))")
    assert float(total[0]["value"][1]) == len(values)


def test_the_hub_watches_itself(platform):
    """All five services are scraped from the first seconds, and so is the host."""

    def scraped():
        up = {r["metric"].get("job"): r["value"][1] for r in platform.query("up")}
        return sum(value == "1" for value in up.values()) >= 5 or None

    eventually("five services are up", scraped)
    eventually("the host is there", lambda: platform.query("node_load1") or None)


def test_the_read_side_shows_what_is_scraped(platform):
    """Clients of a Prometheus ask das for targets; it answers as dis does, for the same caller."""
    base, headers = f"{platform.url}/api", {"Authorization": f"Bearer {platform.key}"}

    def pools():
        answer = httpx.get(f"{base}/das/api/v1/scrape_pools", headers=headers, timeout=600)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["scrapePools"] or None

    shown = eventually("scrape pools", pools)
    targets = httpx.get(f"{base}/dis/api/v1/targets", headers=headers, timeout=600).json()["data"]
    assert shown == sorted({one["scrapePool"] for one in targets["activeTargets"]})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="none"),
        pytest.param({"Authorization": "Bearer coh_live_nonsense"}, 401, id="malformed"),
        pytest.param({"X-API-Key": "coh_live_" + "0" * 38}, 401, id="wrong checksum"),
    ],
)
def test_no_metric_without_a_credential(platform, headers, status):
    """Neither reads nor writes are answered to strangers, and nginx never shows /internal."""
    read = f"{platform.url}/api/data-api-service/api/v1/query?query=up"
    write = f"{platform.url}/api/data-ingest-service/api/v1/write"
    assert httpx.get(read, headers=headers, timeout=600).status_code == status
    assert httpx.post(write, headers=headers, content=b"", timeout=600).status_code == status
    internal = f"{platform.url}/api/user-billing-service/internal/introspect"
    token = (platform.data_dir / "secrets.env").read_text().split("SERVICE_TOKEN=")[1].split()[0]
    answer = httpx.post(
        internal, headers={"Authorization": f"Bearer {token}"}, json={"key": "x"}, timeout=600
    )
    assert answer.status_code in {403, 404}


def test_each_service_logs_in_as_itself(platform):
    """Every session of a service is its own role's (what that may: integration/test_roles.py)."""
    sessions = pg.execute(
        platform.state["database"]["superuser_url"],
        "SELECT DISTINCT usename || ' ' || application_name FROM pg_stat_activity"
        " WHERE datname = 'cloudopshub' AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()",
    ).splitlines()
    named = {"das": "data-api", "dis": "dis", "aps": "analysis-processing", "ubs": "ubs"}
    for code, name in named.items():
        own = [session for session in sessions if name in session]
        assert own
        assert {session.split()[0] for session in own} == {f"cloudopshub_{code}"}
    assert {session.split()[0] for session in sessions} == {f"cloudopshub_{c}" for c in named}


@pytest.mark.parametrize("victim", PROCESSES)
def test_kill_9_loses_and_doubles_nothing(platform, victim):
    """While samples stream in, one process is killed: it comes back, each sample is there once."""
    assert eventually("all is ready", lambda: platform.all_ready() or None)
    before = platform.pids[victim]
    writer = Writer(platform, f"e2e_kill_{victim.replace('-', '_')}")
    writer.start()
    try:
        eventually("samples stream", lambda: len(writer.acknowledged) > 20 or None)
        psutil.Process(before).send_signal(signal.SIGKILL)

        def back():
            now = platform.pids[victim]
            return (now is not None and now != before and platform.all_ready()) or None

        eventually(f"{victim} is back and all is ready", back)
        files = (platform.data_dir / "run").glob("*.pid")
        assert {path.stem: int(path.read_text()) for path in files} == platform.pids
        count = len(writer.acknowledged)
        eventually("samples go on", lambda: len(writer.acknowledged) > count + 20 or None)
    finally:
        writer.stopped.set()
        writer.join(600)
    assert not writer.refused
    found = samples_of(platform, writer.metric)
    assert len(found) == len(dict(found)), "a timestamp came twice"
    missing = set(writer.acknowledged) - set(found)
    assert not missing, f"{len(missing)} of {len(writer.acknowledged)} acknowledged are lost"
    counted = platform.query(f"count_over_time({writer.metric}[15m])")
    assert float(counted[0]["value"][1]) == len(found)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_however_the_launcher_ends_nothing_is_left(new_folder, number):
    """Kill -9, a closed terminal and Ctrl-C leave no process; the next start has the data."""
    data_dir = new_folder(f"ends by {number.name}") / "data"
    first = NativePlatform.start(data_dir)
    first.wait_ready()
    sample = (time.time_ns() // 1_000_000, 42.0)
    assert first.write({"__name__": "e2e_kept", "job": "e2e"}, [sample]) == 204
    family, secrets = first.family(), (data_dir / "secrets.env").read_text()
    assert len(family) > len(PROCESSES)
    code = first.stop(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    eventually("no process is left", lambda: all_gone(family) or None)
    if number != signal.SIGKILL:
        return
    second = NativePlatform.start(data_dir)
    try:
        second.wait_ready()
        assert samples_of(second, "e2e_kept") == [sample]
        assert (data_dir / "secrets.env").read_text() == secrets
    finally:
        second.stop()


def test_a_taken_port_is_explained(new_folder):
    """The message names the port, who holds it, and the variable that chooses another."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        run = NativePlatform.start(new_folder("port") / "data", CLOUDOPSHUB_DAS_PORT=str(port))
        assert run.launcher.wait(600) == 4
    screen = run.screen()
    assert f"port {port} for data-api-service is taken by pid" in screen
    assert "CLOUDOPSHUB_DAS_PORT=" in screen


def test_what_cannot_start_says_why_last(new_folder):
    """A run whose database refuses ends with a code and the reason as its last words."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:{port}/nothing"
        run = NativePlatform.start(new_folder("reason") / "data", DATABASE_URL=url)
        assert run.launcher.wait(600) == 5
    assert "migrate` failed" in run.screen()
    assert "refused" in run.screen()[-3000:].lower()


def test_nobody_else_reads_what_a_run_keeps(platform):
    """Folders and files of the data folder are their owner's; root's stand-in only passes."""
    assert platform.write({"__name__": "e2e_private", "job": "e2e"}, [(1, 1.0)]) != 0
    assert httpx.get(f"{platform.url}/api/nowhere", timeout=600).status_code == 404
    assert platform.data_dir.stat().st_mode & 0o066 == 0
    kept = {path.name: path for path in platform.data_dir.iterdir()}
    kept.pop("postgres-program", None)  # programs of the wheel, no data
    assert {"objects", "logs", "run", "nginx", "secrets.env", "state.json"} <= kept.keys()
    folders = [path for name, path in kept.items() if name != "postgres"]
    files = [*kept.values(), *(file for folder in folders for file in folder.rglob("*"))]
    assert kept["nginx"] / "refusals.log" in files  # what the launcher keeps short
    assert not [path for path in files if path.exists() and path.stat().st_mode & 0o077]


def test_other_terminals_see_it(platform):
    """`ps` shows every process with its readiness; `logs` shows what they said."""
    env = {"CLOUDOPSHUB_DATA_DIR": str(platform.data_dir), "PATH": "/usr/bin:/bin"}

    def ci(*words):
        command = [sys.executable, "-m", "ci", *words]
        return subprocess.run(
            command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
        )

    eventually("all is ready", lambda: platform.all_ready() or None)
    status = ci("ps")
    assert status.returncode == 0, status.stdout
    assert all(name in status.stdout for name in PROCESSES)
    assert "das" in ci("logs", "--no-follow", "das").stdout
    assert ci("clean", "--yes").returncode == 3
    assert ci("run").returncode == 4
