"""Laws of many targets: each runs by itself, and a change touches those that changed."""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog

from data_ingest.chassis.clock import Clock
from data_ingest.chassis.identity import Limits
from data_ingest.model import Outcome, SampleBatch
from data_ingest.scrape.access import Clients
from data_ingest.scrape.host import Host
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.relabel import Rule
from data_ingest.scrape.scraper import Loops
from data_ingest.scrape.targets import parse
from tests.scrapes import rows

READING = Reading.model_construct(scrape_interval=0.01, scrape_timeout=4.0, body_size_limit=1000)


class Pages:
    """Counts what is asked by URL, and lets a test wait for the next question of each."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.ended: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked[str(request.url)] += 1
        self._changed.set()
        if request.url.path == "/defect":
            raise RuntimeError
        return httpx.Response(200, text=f"page_{request.url.path[1:]} 1\n")

    async def ingest(
        self, tenant: uuid.UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        del tenant, limits, protocol
        self.ended += [name for name, (_, value) in rows(decoded).items() if value == "stale"]
        return Outcome(decoded.samples)

    async def until_asked(self, times: int, *urls: str) -> None:
        async with asyncio.timeout(600):
            while any(self.asked[url] < times for url in urls):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
async def loops(pages: Pages) -> Any:
    async with httpx.AsyncClient(transport=httpx.MockTransport(pages)) as http:
        made = Loops(pages.ingest, Clients(http), Clock(), uuid.UUID(int=1), Host())
        yield made
        await made.close()


async def test_one_bad_target_stops_no_other(pages: Pages, loops: Loops) -> None:
    """Two pages of one job and host are read, and so is the one after a target that fails in a way
    that nobody expected. That both pages have the same labels is said.
    """
    text = "job=http://h/one,job=http://h/two,job=http://h/defect,last=http://h/last"
    with structlog.testing.capture_logs() as logged:
        await loops.apply(parse("S", text, READING))
    assert [(entry["event"], entry["url"]) for entry in logged] == [
        ("targets_share_labels", "http://h/two"),
        ("targets_share_labels", "http://h/defect"),
    ]
    await pages.until_asked(3, "http://h/one", "http://h/two", "http://h/last")
    assert len(loops.rows()) == 4


async def test_a_change_leaves_the_others_alone(pages: Pages, loops: Loops) -> None:
    """A target that stays goes on where it was, one that goes ends its series at once, and one that
    comes starts.
    """
    await loops.apply(parse("S", "a=http://h/stays,b=http://h/goes", READING))
    await pages.until_asked(2, "http://h/stays", "http://h/goes")
    await loops.apply(parse("S", "c=http://h/comes,a=http://h/stays", READING))
    before = pages.asked["http://h/goes"]
    assert "page_goes{instance=h:80,job=b}" in pages.ended
    assert "page_stays{instance=h:80,job=a}" not in pages.ended
    await pages.until_asked(2, "http://h/comes")
    await pages.until_asked(pages.asked["http://h/stays"] + 1, "http://h/stays")
    assert pages.asked["http://h/goes"] == before


async def test_another_way_to_scrape_the_same_goes_on(pages: Pages, loops: Loops) -> None:
    """When only the way in which a target is scraped changes, no series ends but those that are no
    longer kept.
    """
    (target,) = parse("S", "job=http://h/one", READING)
    await loops.apply([target])
    await pages.until_asked(2, "http://h/one")
    await loops.apply([replace(target, reading=READING.model_copy(update={"scrape_timeout": 3.0}))])
    await pages.until_asked(pages.asked["http://h/one"] + 2, "http://h/one")
    assert pages.ended == []
    drop = Rule(action="drop", source_labels=("__name__",), regex="page_.*")
    reading = READING.model_copy(update={"metric_relabel_configs": (drop,)})
    await loops.apply([replace(target, reading=reading)])
    await pages.until_asked(pages.asked["http://h/one"] + 2, "http://h/one")
    assert pages.ended == ["page_one{instance=h:80,job=job}"]


async def test_nothing_is_left(pages: Pages, loops: Loops) -> None:
    """After the last change to nothing, no loop runs and every series has ended."""
    before = asyncio.all_tasks()
    await loops.apply(parse("S", "job=http://h/one", READING))
    await pages.until_asked(1, "http://h/one")
    await loops.close()
    assert asyncio.all_tasks() == before
    assert loops.rows() == {}
    assert "up{instance=h:80,job=job}" in pages.ended
