"""Laws of reading jobs and targets again: what changes, what stays, what is said."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from data_ingest.scrape import sources
from data_ingest.scrape.access import Clients
from data_ingest.scrape.jobs import AddressList, Discovered, Job, discover
from data_ingest.scrape.sources import Jobs
from data_ingest.scrape.words import BadJobs


class Writer:
    """Writes files, each newer than anything before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._at_s = 1_000_000_000

    def __call__(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        self._at_s += 1
        os.utime(path, (self._at_s, self._at_s))
        return path


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def _loaded(path: Path) -> Jobs:
    jobs = Jobs(path, 1_000_000)
    jobs.load()
    return jobs


def _addresses(jobs: Jobs) -> list[str]:
    return [dict(target.labels)["instance"] for target in jobs.discovered().targets]


def _job(name: str, *rest: str) -> str:
    return f"- {{{', '.join([f'job_name: {name}', *rest])}}}\n"


def test_a_file_that_changes(write: Writer) -> None:
    """The jobs follow their file; a target of a job that did not change is equal to what it was,
    and a file that cannot be used changes nothing and is said once.
    """
    static = "static_configs: [{targets: [%s]}]"
    text = "scrape_configs:\n" + _job("a", static % "h")
    path = write("jobs.yml", text + _job("b", static % "i"))
    jobs = _loaded(path)
    before = jobs.discovered().targets
    with structlog.testing.capture_logs() as logged:
        jobs.read_files()
        assert logged == []
        write("jobs.yml", text + _job("b", static % "k"))
        jobs.read_files()
        assert jobs.discovered().targets[0] == before[0]
        assert _addresses(jobs) == ["h", "k"]
        for bad in ("scrape_configs: [{}]", "scrape_configs:\n" + _job("a", static % "h/x")):
            write("jobs.yml", bad)
            jobs.read_files()
            jobs.read_files()
            assert _addresses(jobs) == ["h", "k"]
        path.unlink()
        jobs.read_files()
        assert _addresses(jobs) == ["h", "k"]
        write("jobs.yml", "")
        jobs.read_files()
    assert _addresses(jobs) == []
    assert [entry["event"] for entry in logged] == [
        "scrape_config_loaded",
        *["scrape_config_refused"] * 3,
        "scrape_config_accepted_again",
        "scrape_config_loaded",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "static_configs[0]: target 2"),
        ("tls_config: {ca_file: none.pem}", "ca_file"),
    ],
)
def test_a_job_that_cannot_work_stops_the_start(write: Writer, text: str, why: str) -> None:
    """An address that is none, and authorities that are not there, are named at the start."""
    addresses = "static_configs: [{targets: [h, h/x]}]"
    with pytest.raises(BadJobs) as raised:
        _loaded(write("jobs.yml", "scrape_configs:\n" + _job("a", text or addresses)))
    assert f"job 'a': {why}" in str(raised.value)
    with pytest.raises(BadJobs, match=r"gone\.yml cannot be read"):
        _loaded(write.folder / "gone.yml")


def test_files_of_targets(write: Writer) -> None:
    """Files of targets come, change and go, in JSON and YAML; one that cannot be read leaves what
    it said before, and is said once.
    """
    configs = "file_sd_configs: [{files: ['t/*.json', t/*.yml]}]"
    jobs = _loaded(write("jobs.yml", "scrape_configs:\n" + _job("a", configs)))
    (write.folder / "t").mkdir()
    jobs.read_files()
    assert _addresses(jobs) == []
    json_list = json.dumps([{"targets": ["h:1"], "labels": {"zone": "eu"}}])
    write("t/one.json", json_list)
    write("t/two.yml", "- targets: [h:2, h:3]\n")
    write("t/three.txt", json_list)
    jobs.read_files()
    assert _addresses(jobs) == ["h:1", "h:2", "h:3"]
    assert dict(jobs.discovered().targets[0].labels)["zone"] == "eu"
    path = str(write.folder / "t/one.json")
    assert dict(jobs.discovered().targets[0].discovered)["__meta_filepath"] == path
    with structlog.testing.capture_logs() as logged:
        for text in ("{", "{", '[{"targets": "h:9"}]', '[{"labels": {}}]'):
            write("t/one.json", text)
            jobs.read_files()
            assert _addresses(jobs) == ["h:1", "h:2", "h:3"]
        write("t/one.json", '[{"targets": ["h:4", "u:s3cret@h"]}]')
        jobs.read_files()
        assert _addresses(jobs) == ["h:4", "h:2", "h:3"]
        (write.folder / "t/one.json").unlink()
        jobs.read_files()
    assert _addresses(jobs) == ["h:2", "h:3"]
    assert [entry["event"] for entry in logged] == [
        *["scrape_discovery_failed"] * 4,
        *["scrape_discovery_works_again"] * 2,
    ]
    assert "s3cret" not in str(logged)


async def test_a_reload_forgets_nothing(write: Writer) -> None:
    """What a server said for a job that did not change is still known after the file changed."""
    source = "http_sd_configs: [{url: 'http://sd/'}]"
    text = "scrape_configs:\n" + _job("a", source)
    jobs = _loaded(write("jobs.yml", text))

    def server(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"targets": ["h:1"]}])

    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
        await jobs.ask_servers(Clients(http), 1.0)
    write("jobs.yml", text + _job("b"))
    jobs.read_files()
    assert len(jobs.sources) == 2
    assert _addresses(jobs) == ["h:1"]


async def test_a_server_that_lists_targets(write: Writer) -> None:
    """A server is asked once an interval, with its credential; when it fails, what it said before
    stays, and that is said once.
    """
    answers: list[httpx.Response | Exception] = [
        httpx.Response(200, json=[{"targets": ["h:1"]}]),
        httpx.Response(500),
        httpx.Response(500),
        httpx.Response(200, text="[]"),
        httpx.Response(200, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=b"[" * 100_000, headers={"Content-Type": "application/json"}),
        httpx.Response(200, json=[]),
    ]
    requests = []

    def server(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        answer: httpx.Response | Exception = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = "http_sd_configs: [{url: 'http://sd/?token=s3cret', authorization: {credentials: x}}]"
    jobs = _loaded(write("jobs.yml", "scrape_configs:\n" + _job("a", source)))
    addresses = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
        with structlog.testing.capture_logs() as logged:
            for round_ in range(8):
                await jobs.ask_servers(Clients(http), 60.0 * round_ + 1)
                await jobs.ask_servers(Clients(http), 60.0 * round_ + 60)
                addresses.append(_addresses(jobs))
    assert addresses == [["h:1"]] * 7 + [[]]
    assert len(requests) == 8
    assert requests[0].headers["Authorization"] == "Bearer x"
    assert requests[0].headers["X-Prometheus-Refresh-Interval-Seconds"] == "60"
    assert [entry["event"] for entry in logged] == [
        *["scrape_discovery_failed"] * 5,
        "scrape_discovery_works_again",
    ]
    assert "s3cret" not in str(logged)


async def test_one_jobs_list_stops_no_other(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server's or a file's list makes our code raise, the targets of its job stay and
    those of the other jobs come.
    """

    def broken(job: Job, lists: list[AddressList]) -> Discovered:
        if any("odd" in one.config.targets for one in lists):
            raise ArithmeticError("odd")
        return discover(job, lists)

    def server(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers[request.url.host])

    monkeypatch.setattr(sources, "discover", broken)
    served = "http_sd_configs: [{url: 'http://%s/'}]"
    text = (
        _job("a", served % "a")
        + _job("b", served % "b")
        + _job("c", "file_sd_configs: [{files: [c.json]}]")
    )
    jobs = _loaded(write("jobs.yml", "scrape_configs:\n" + text))
    answers: dict[str, Any] = {"a": [{"targets": ["h:1"]}], "b": []}
    odd_duration = {"__scrape_interval__": "9" * 400 + "y"}
    odd = [{"targets": ["odd"]}]
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
        await jobs.ask_servers(Clients(http), 1.0)
        write("c.json", json.dumps(answers["a"]))
        jobs.read_files()
        answers = {"a": odd, "b": [{"targets": ["h:2"]}]}
        write("c.json", json.dumps(odd))
        with structlog.testing.capture_logs() as logged:
            for round_ in range(1, 3):
                await jobs.ask_servers(Clients(http), 60.0 * round_ + 1)
                jobs.read_files()
        assert _addresses(jobs) == ["h:1", "h:2", "h:1"]
        assert [line["job"] for line in logged] == ["a", "c"]
        answers = {"a": [{"targets": ["h:3"], "labels": odd_duration}], "b": odd[:0]}
        await jobs.ask_servers(Clients(http), 200.0)
    assert _addresses(jobs) == ["h:1"]
