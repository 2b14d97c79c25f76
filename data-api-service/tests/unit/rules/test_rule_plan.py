"""Evaluations of a group whose world is made up."""

import asyncio
import threading

import pytest

from data_api.rules.alerting import Phase
from data_api.rules.evaluation import Answer, Plan, World
from data_api.rules.parsing import parse
from data_api.rules.state import GroupState

MINUTE = 60_000
SERIES = [({"n": str(n)}, 1.0) for n in range(3)]


def plain(text, _labels, _value):
    return text


def world(expand=plain, room=100):
    """Every expression selects SERIES; what is written and told is forgotten."""

    async def ask(expressions, _at_ms):
        return [Answer(SERIES)] * len(expressions)

    async def take(_):
        pass

    async def texts(_rule, _vector, _at_ms):
        return expand

    return World(ask, take, take, texts, lambda expr: f"http://ui/{expr}", room)


def plan(text):
    return Plan(parse(text, "n")[0][0], MINUTE, 100)


def phases(state):
    return [one.memory.phase for one in state.rules.values()]


@pytest.mark.parametrize("minutes", [1, 6, 10, 120])
async def test_an_alert_fires_whatever_the_interval_of_its_group(minutes):
    """The time between two evaluations is a pause only as far as it is beyond the interval."""
    group = plan(f"{{name: g, interval: {minutes}m, rules: [{{alert: A, expr: up, for: 1m}}]}}")
    first = await group.evaluated(GroupState(), None, 0, world())
    then = await group.evaluated(first, 0, minutes * MINUTE, world())
    assert (phases(first), phases(then)) == ([Phase.PENDING], [Phase.FIRING])


async def test_texts_of_alerts_hold_up_nobody():
    """While they are expanded the event loop, and so leases and other groups, go on."""
    going_on = threading.Event()

    def expand(text, _labels, _value):
        assert going_on.wait(600)
        return text

    group = plan("{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ $value }}'}}]}")
    evaluating = asyncio.create_task(group.evaluated(GroupState(), None, 0, world(expand)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(going_on.set)
    assert phases(await evaluating) == [Phase.FIRING]


async def test_what_there_is_no_room_for_is_an_error_and_changes_no_other_rule():
    """Room is for the series and alerts of all rules; long texts count as more."""
    group = plan(
        "{name: g, rules: [{record: a, expr: up}, {alert: B, expr: down},"
        f" {{alert: C, expr: down, annotations: {{t: {'x' * 3000}}}}}]}}"
    )
    state = GroupState()
    for at_ms in (0, MINUTE):
        state = await group.evaluated(state, at_ms - MINUTE, at_ms, world(room=10))
        ok, also, refused = state.rules.values()
        assert (ok.health, also.health, refused.health) == ("ok", "ok", "err")
        assert "too many series and alerts; room is for 1" in refused.last_error
    state = await group.evaluated(state, MINUTE, 2 * MINUTE, world())
    assert [one.health for one in state.rules.values()] == ["ok"] * 3


async def test_alerts_have_at_most_so_much_text():
    """However few: what is remembered and told of a rule is bounded."""
    group = plan("{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ $value }}'}}]}")
    big = world(lambda *_: "x" * 8 * 2**20, 10**9)
    state = await group.evaluated(GroupState(), None, 0, big)
    (only,) = state.rules.values()
    assert "characters of labels and annotations" in only.last_error
    assert not only.memory.alerts
