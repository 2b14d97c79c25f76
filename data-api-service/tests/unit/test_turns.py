"""Whose turn it is to compute. No test waits for time to pass: gates are opened by hand."""

import asyncio
import threading
import time
import uuid
from contextlib import contextmanager, suppress

import pytest

from data_api.errors import QueryCanceled, QueryTimeout, QueueTimeout
from data_api.turns import Turn, Turns

A, B = uuid.uuid4(), uuid.uuid4()
PATIENCE_S = 600.0


@contextmanager
def turns_of(threads, quantum_s=0.0):
    """The turns of a process, whose threads have all ended afterwards."""
    turns, made = Turns(threads, quantum_s), []

    def turn(tenant, deadline_s=PATIENCE_S, queue_s=PATIENCE_S):
        now_s = time.monotonic()
        made.append(Turn(turns, tenant, now_s + deadline_s, now_s + queue_s))
        return made[-1]

    try:
        yield turn
    finally:
        for one in made:
            one.end(lambda: None)
        turns.close()


class Gate:
    """Work that is known to run, and ends when it is opened."""

    def __init__(self):
        self.entered, self._open = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        assert self._open.wait(PATIENCE_S)
        return "done"

    def open(self):
        self._open.set()

    async def running(self):
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_S)


async def test_no_tenant_has_the_last_thread():
    """However many queries one tenant runs, another that comes alone computes at once."""
    with turns_of(3) as turn:
        gates = [Gate() for _ in range(5)]
        hostile = [asyncio.create_task(turn(A).run(gate)) for gate in gates]
        await gates[0].running()
        await gates[1].running()
        assert await asyncio.wait_for(turn(B).run(lambda: 1), PATIENCE_S) == 1
        assert not gates[2].entered.is_set()
        for gate in gates:
            gate.open()
        for task in hostile[:2]:
            assert await task == "done"
        for task in hostile:
            task.cancel()


async def test_tenants_take_turns():
    """With one thread, a tenant's first query goes before another's second."""
    with turns_of(1) as turn:
        order, gate = [], Gate()
        first = turn(A)
        running = asyncio.create_task(first.run(gate))
        await gate.running()

        async def one(name, tenant):
            mine = turn(tenant)
            await mine.run(lambda: order.append(name))
            mine.rest()

        waiting = [
            asyncio.create_task(one(name, tenant))
            for name, tenant in (("a2", A), ("a3", A), ("b1", B), ("b2", B))
        ]
        await asyncio.sleep(0)
        gate.open()
        await running
        first.rest()
        await asyncio.gather(*waiting)
        assert order in (["a2", "b1", "a3", "b2"], ["b1", "a2", "b2", "a3"])


async def test_long_work_makes_room_at_its_checkpoint():
    """With one thread, work of one tenant stands still while another's runs, and then goes on."""
    with turns_of(1) as turn:
        order, gate, mine = [], Gate(), turn(A)

        def long():
            gate()
            mine.checkpoint()
            order.append("a")
            return "done"

        running = asyncio.create_task(mine.run(long))
        await gate.running()

        async def other():
            theirs = turn(B)
            await theirs.run(lambda: order.append("b"))
            theirs.rest()

        waiting = asyncio.create_task(other())
        await asyncio.sleep(0)
        gate.open()
        assert await running == "done"
        await waiting
        assert order == ["b", "a"]


async def test_work_goes_on_while_nobody_else_waits():
    """Queries of the same tenant do not interrupt each other."""
    with turns_of(1) as turn:
        order, gate, mine = [], Gate(), turn(A)

        def long():
            gate()
            mine.checkpoint()
            order.append("first")

        running = asyncio.create_task(mine.run(long))
        await gate.running()
        waiting = asyncio.create_task(turn(A).run(lambda: order.append("second")))
        await asyncio.sleep(0)
        gate.open()
        await running
        mine.rest()
        await waiting
        assert order == ["first", "second"]


async def test_a_query_that_nobody_waits_for_holds_its_turn_until_its_thread_ends():
    """Its work stops at the next checkpoint, and only then is its turn free."""
    with turns_of(1) as turn:
        gate, mine, freed, stopped = Gate(), turn(A), threading.Event(), []

        def long():
            gate()
            try:
                mine.checkpoint()
            except QueryCanceled as exc:
                stopped.append(exc)
                raise

        running = asyncio.create_task(mine.run(long))
        await gate.running()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        mine.end(freed.set)
        next_one = asyncio.create_task(turn(B).run(lambda: "next"))
        await asyncio.sleep(0)
        assert not freed.is_set()
        assert not next_one.done()
        gate.open()
        assert await next_one == "next"
        assert await asyncio.to_thread(freed.wait, PATIENCE_S)
        assert stopped


@pytest.mark.parametrize("how", ["deadline", "gone"])
async def test_a_query_that_stands_still_ends_in_time(how):
    """A query whose turn another has ends by its deadline, or with its client, all the same."""
    with turns_of(1) as turn:
        gate, other = Gate(), Gate()
        mine = turn(A, deadline_s=0.05 if how == "deadline" else PATIENCE_S)

        def long():
            gate()
            mine.checkpoint()

        running = asyncio.create_task(mine.run(long))
        await gate.running()
        theirs = asyncio.create_task(turn(B).run(other))
        await asyncio.sleep(0)
        gate.open()
        if how == "gone":
            await other.running()
            mine.end(lambda: None)
        with pytest.raises(QueryTimeout if how == "deadline" else QueryCanceled):
            await running
        mine.rest()
        other.open()
        assert await theirs == "done"


async def test_a_first_turn_that_does_not_come_is_a_timeout_of_the_queue():
    """The queue's time holds for threads too; the refusal says when to come again."""
    with turns_of(1) as turn:
        gate = Gate()
        running = asyncio.create_task(turn(A).run(gate))
        await gate.running()
        with pytest.raises(QueueTimeout, match="query timed out in query queue") as caught:
            await turn(B, queue_s=0.0).run(lambda: 1)
        assert caught.value.facts["retry_after_s"] == 1
        gate.open()
        await running


async def test_whoever_leaves_the_queue_takes_no_turn_along():
    """Turns are neither lost nor doubled, wherever those who wait for them give up."""
    with turns_of(2) as turn:
        for _ in range(50):
            queries = [turn(tenant) for tenant in (A, B, A, B, A)]
            tasks = [asyncio.create_task(query.run(lambda: None)) for query in queries]
            for task in tasks[::2]:
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*tasks[:1], return_exceptions=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for query in queries:
                query.end(lambda: None)
            last = turn(uuid.uuid4())
            assert await asyncio.wait_for(last.run(lambda: 1), PATIENCE_S) == 1
            last.rest()


async def test_a_process_is_shared_while_another_tenant_computes():
    """Nobody shares it with themselves; whoever is served or waits does so with others."""
    with turns_of(2) as turn:
        first, other = turn(A), turn(B)
        await first.run(lambda: None)
        assert not first.is_shared
        await other.run(lambda: None)
        assert first.is_shared
        assert other.is_shared
