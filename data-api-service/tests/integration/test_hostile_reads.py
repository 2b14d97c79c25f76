"""Requests that a hostile client would send: each has an answer, and the others go on meanwhile."""

import asyncio
import threading
import uuid

import httpx
import pytest
import re2
import remote

from data_api.api import prometheus
from data_api.api import targets as scraped
from data_api.chassis.identity import Limits, Principal
from data_api.errors import TargetsUnavailable
from data_api.questions import PARSED_CHARS_MAX, Text

FORM = {"content-type": "multipart/form-data; boundary=x"}
FIELD = b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n1\r\n--x--\r\n'
DEEPER = b"--a%d\r\nContent-Type: multipart/mixed; boundary=a%d\r\n\r\n"


async def test_a_writer_gives_its_turn_away_and_the_service_goes_on(serve):
    """What writes an export may have to wait for its next turn, which the event loop hands out: it
    waits in a thread.
    """
    client = await serve(query_threads=2, query_workers=0)
    engine = client._transport.app.state.services.engine
    turns = engine.turns
    turns.quantum_s = -1.0  # each checkpoint gives way to whoever waits
    first, second, third = (uuid.uuid4() for _ in range(3))
    read, ended = threading.Event(), threading.Event()
    writers = []

    def parse():
        read.wait(600)
        return []

    def write(_, limits):
        writers.append(threading.current_thread())
        limits.checkpoint()
        return iter([b"written"])

    async def export():
        text = Text(PARSED_CHARS_MAX + 1, parse)
        async with engine.exported(first, Limits(), text, write) as body:
            return [piece async for piece in body]

    async def compute(tenant, work):
        async with engine.reading(tenant, Limits(), lambda limits: limits.run(work)) as answer:
            return answer

    async with asyncio.TaskGroup() as group:
        blocking = group.create_task(compute(second, lambda: ended.wait(600)))
        exporting = group.create_task(export())
        while turns._free:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        waiting = group.create_task(compute(third, lambda: "computed"))
        while third not in turns._waiting:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        read.set()
        done, _ = await asyncio.wait([exporting, waiting])
        ended.set()
    assert (exporting.result(), waiting.result()) == ([b"written"], "computed")
    assert done
    assert blocking.result()
    assert threading.main_thread() not in writers


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\nContent-Type: multipart/mixed; boundary=a0\r\n\r\n"
        + b"".join(DEEPER % (n, n + 1) for n in range(990)),
        b"--x\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 2000,
        FIELD[:-4],
        FIELD.replace(b"name=", b"filename="),
        FIELD.replace(b"1\r\n", b"\xff\r\n"),
        FIELD * 1001,
    ],
    ids=["deep", "messages", "unfinished", "no name", "no text", "many"],
)
async def test_a_form_that_is_none_is_refused(das, body):
    """However deep its parts lie in each other: 400."""
    answer = await das.post("/api/v1/query", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")


@pytest.mark.parametrize("kind", ['x="%s"; boundary=x' % (";" * 1000), 'BOUNDARY="x"'])
async def test_a_boundary_is_read_wherever_it_stands(das, kind):
    """Other parameters are passed over."""
    headers = {"content-type": f"multipart/form-data; {kind}"}
    answer = await das.post("/api/v1/query", content=FIELD, headers=headers)
    assert answer.json()["data"]["resultType"] == "scalar", answer.text


class Identity:
    """It gives a token to whoever asks."""

    async def service_token_for(self, *_):
        return "token"


class Endless(httpx.AsyncByteStream):
    """A body that comes byte by byte."""

    async def __aiter__(self):
        while True:
            yield b" "
            await asyncio.sleep(0)


def caller():
    return Principal(uuid.uuid4(), "key", None, frozenset({"metrics:read"}), Limits(), "key", None)


async def test_targets_that_trickle_in_are_unavailable_in_time(monkeypatch):
    """The whole answer has TIMEOUT_S, not each of its pieces."""
    monkeypatch.setattr(scraped, "TIMEOUT_S", 0.05)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    async with httpx.AsyncClient(transport=transport) as http:
        with pytest.raises(TargetsUnavailable, match=r"no answer within 0\.05 s"):
            await scraped.Targets("http://dis", http, Identity()).of(caller(), {})


async def test_targets_leave_connections_to_others(monkeypatch):
    """However many ask, at most IN_FLIGHT_MAX wait for data-ingest-service at once: keys are
    verified over the same connections.
    """
    monkeypatch.setattr(scraped, "TIMEOUT_S", 600.0)
    running, most, go_on = 0, 0, asyncio.Event()

    async def answer(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return httpx.Response(200, json={"data": {"activeTargets": []}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        targets = scraped.Targets("http://dis", http, Identity())
        tasks = [asyncio.create_task(targets.of(caller(), {})) for _ in range(50)]
        for _ in range(1000):
            await asyncio.sleep(0)
        go_on.set()
        assert len(await asyncio.gather(*tasks)) == 50
    assert most == scraped.IN_FLIGHT_MAX


async def test_metadata_has_bounds(serve, hub, ingest, tenant, monkeypatch):
    """Descriptions beyond the limit are left out with a warning; an answer has a size."""
    monkeypatch.setattr(prometheus, "METADATA_MAX", 2)
    for name in ("b", "a", "c"):
        await ingest.connection.execute(
            "INSERT INTO metrics.metadata VALUES ($1, $2, 'gauge', $2, '')", tenant, name
        )
    for size, status in ((10_000, 200), (50, 422)):
        das = await serve(answer_bytes_max=size)
        das.headers["X-API-Key"] = hub.key(tenant)
        answer = await das.get("/api/v1/metadata")
        assert answer.status_code == status
        if status == 200:
            assert list(answer.json()["data"]) == ["a", "b"]
            assert answer.json()["warnings"] == ["results truncated due to limit"]
            one = (await das.get("/api/v1/metadata", params={"limit": "1"})).json()
            assert (list(one["data"]), "warnings" in one) == (["a"], False)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("(" * 100 + "1" + ")" * 100, 400),
        ("-" * 8000 + "1", 200),
        ("^".join(["2"] * 1000), 400),
        ("+".join(["1"] * 4000), 200),
        ("abs(" * 90 + "x" + ")" * 90, 200),
        ('{a="' + "b" * 900_000 + '"}', 200),
        ("sum by (" + ",".join(f"l{n}" for n in range(300)) + ") (x)", 400),
    ],
    ids=["levels", "signs", "powers", "chain", "calls", "long", "grouping"],
)
@pytest.mark.parametrize("path", ["parse_query", "format_query"])
async def test_a_tree_has_bounds(das, path, query, status):
    """Too deep a query is bad data, a long one is not."""
    answer = await das.post(f"/api/v1/{path}", data={"query": query})
    assert answer.status_code == status, answer.text[:300]


@pytest.mark.parametrize(
    "name", ["U___d800_", "U___110000_", "U__", "%00", "a%2Fb", "%ff", "a" * 9000]
)
async def test_any_name_of_a_label_has_an_answer(das, ingest, tenant, name):
    """What no label can be called has no values; it is never a defect."""
    await ingest.write(tenant, {"__name__": "up"}, [(0, 1.0)])
    answer = await das.get(f"/api/v1/label/{name}/values")
    assert answer.status_code in {200, 400, 404}, answer.text


async def test_a_pixel_of_a_millisecond_is_too_many_samples(das, ingest, tenant):
    """A resolution far below the step is refused before it is computed."""
    await ingest.write(tenant, {"__name__": "up"}, [(0, 1.0)])
    params = {"query": "up + 0", "start": 0, "end": 10**9, "step": 10**5, "resolution": "0.001"}
    answer = await das.get("/api/v1/query_range_buckets", params=params)
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution"), answer.text


LARGE = ".{1000}" * 5  # 35,000 instructions


@pytest.mark.parametrize("path", ["/api/v1/read", "/api/v1/parse_query"])
async def test_many_large_regexes_end_with_their_query(serve, hub, tenant, monkeypatch, path):
    """Each that is compiled is a checkpoint, in a thread: a query whose time is over compiles no
    more.
    """
    compiled = []
    compile_one = re2.compile
    das = await serve()

    def watched(pattern, options):
        compiled.append(threading.current_thread())
        if len(compiled) == 3:
            (turn,) = das._transport.app.state.services.engine.turns_alive
            turn._ends_s = 0.0
        return compile_one(pattern, options)

    monkeypatch.setattr("data_api.model.re2.compile", watched)
    das.headers["X-API-Key"] = hub.key(tenant)
    salt = uuid.uuid4().hex
    patterns = [f"{LARGE}{salt}{n}" for n in range(250)]
    if path.endswith("read"):
        matchers = [(2, "a", pattern) for pattern in patterns]
        body = {"content": remote.request((0, 1, matchers))}
    else:
        body = {"data": {"query": "x{" + ",".join(f'a=~"{one}"' for one in patterns) + "}"}}
    answer = await das.post(path, **body)
    assert answer.status_code == 503
    assert threading.main_thread() not in compiled
    assert len(compiled) == 3


async def test_a_short_query_compiles_large_regexes_in_a_thread(das, ingest, tenant, monkeypatch):
    """A few characters say `.` a thousand times, and the event loop goes on."""
    threads = []
    compile_one = re2.compile

    def watched(pattern, options):
        threads.append(threading.current_thread())
        return compile_one(pattern, options)

    monkeypatch.setattr("data_api.model.re2.compile", watched)
    await ingest.write(tenant, {"__name__": "up"}, [(0, 1.0)])
    for path in ("query", "query_exemplars", "format_query", "query_range_buckets", "series"):
        for text in (r'up{a=~"%s.{99}"}', r'up{a=~"%s\\pL"}', r'up{a=~"%s\x2e\x7b9}"}'):
            query = text % uuid.uuid4().hex
            params = {"query": query, "match[]": query, "start": 0, "end": 1, "step": 1}
            answer = await das.get(f"/api/v1/{path}", params=params)
            assert answer.status_code == 200, answer.text
    assert threads
    assert threading.main_thread() not in threads


async def test_a_regex_has_a_size(das):
    """A program that is large for its text is bad data; every value of a variable is not."""
    for regex, status in (
        (".{1000}" * 20, 400),
        ("|".join(f"host{n}.a" for n in range(50_000)), 200),
    ):
        data = {"query": f'x{{a=~"{regex}"}}'}
        assert (await das.post("/api/v1/format_query", data=data)).status_code == status
