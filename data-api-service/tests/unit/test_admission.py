"""What one tenant may hold of the process."""

import asyncio
import uuid

import pytest

from data_api.admission import Holding, SamplePool, Slots
from data_api.errors import SamplesHeld, TooManyQueries

A, B, C = (uuid.uuid4() for _ in range(3))


async def test_a_queue_that_is_full_refuses_at_once():
    """A tenant's queue has a bound; the refusal names it and says when to come again."""
    slots = Slots(waiting_max=1)
    await slots.take(A, 1, 10)
    waiting = asyncio.create_task(slots.take(A, 1, 10))
    await asyncio.sleep(0)
    with pytest.raises(TooManyQueries, match=r"outstanding requests: .*limit is 1") as full:
        await slots.take(A, 1, 10)
    assert full.value.facts["retry_after_s"] == 1
    await slots.take(B, 1, 10)  # another tenant's queue is its own
    slots.give(A)
    await waiting


async def test_waiting_for_a_slot_has_an_end():
    """In Prometheus's words."""
    slots = Slots(waiting_max=1)
    await slots.take(A, 1, 10)
    with pytest.raises(TooManyQueries, match="query timed out in query queue"):
        await slots.take(A, 1, 0)
    slots.give(A)
    await slots.take(A, 1, 0)


async def test_a_slot_that_comes_as_its_query_is_cancelled_is_free():
    """It goes on to the next in the queue, and nothing is left of a tenant without any."""
    slots = Slots(waiting_max=2)
    await slots.take(A, 1, 10)
    leaving, staying = (asyncio.create_task(slots.take(A, 1, 10)) for _ in range(2))
    await asyncio.sleep(0)
    slots.give(A)
    leaving.cancel()
    await staying
    last = asyncio.create_task(slots.take(A, 1, 10))
    await asyncio.sleep(0)
    slots.give(A)
    last.cancel()
    await asyncio.wait([last])
    assert not slots._queues


def test_no_tenant_takes_the_last_of_the_samples():
    """Alone a tenant gets three quarters; what is left serves the others, and so on."""
    pool = SamplePool(1000)
    first, second, third = Holding(pool, A), Holding(pool, B), Holding(pool, C)
    first.reserve(pool.tenant_max)
    assert pool.tenant_max == 750
    with pytest.raises(SamplesHeld, match="limit=1000"):
        Holding(pool, A).reserve(1)
    second.reserve(187)
    with pytest.raises(SamplesHeld):
        second.reserve(188)
    third.reserve(40)
    first.keep(0)
    second.reserve(500)


def test_what_a_query_held_is_free_afterwards():
    """Holdings grow to their highest mark and shrink; a refusal changes nothing."""
    pool = SamplePool(1000)
    for _ in range(100):
        held = Holding(pool, A)
        held.reserve(700)
        held.reserve(10)
        with pytest.raises(SamplesHeld):
            held.reserve(800)
        held.keep(300)
        held.keep(500)
        with pytest.raises(SamplesHeld):
            Holding(pool, A).reserve(451)
        held.keep(0)
