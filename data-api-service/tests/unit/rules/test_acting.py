"""Writing for a tenant: what is tried again, what is not, and who waits for it."""

import uuid
from types import SimpleNamespace

import httpx
import pytest

from data_api.errors import NotWritten
from data_api.rules import acting, remote_write
from data_api.rules.acting import Acting

FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2)


class Identity:
    """Gives tokens."""

    async def service_token_for(self, tenant, _audience, _scopes):
        return f"{tenant}"


class Dis:
    """Answers with the statuses of `answers`, the last one from then on; 0 is none.

    now_s: the time of these tests, which passes by a hundredth of a second a request.
    """

    now_s = 1000.0

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def handle(self, _request):
        self.asked += 1
        Dis.now_s += 0.01
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not status:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, text="why")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(acting, "time", SimpleNamespace(monotonic=lambda: Dis.now_s))
    for name in ("BACK_OFF_S", "BACK_OFF_MAX_S"):
        monkeypatch.setattr(acting, name, 0.0)


def writer(dis):
    http = httpx.AsyncClient(transport=httpx.MockTransport(dis.handle))
    return Acting(None, Identity(), http, "http://dis", {})


async def write(one, samples=1, tenant=FIRST, left_s=0.05, **more):
    batch = [(((("__name__", f"m{n}"),)), 1, 1.0) for n in range(samples)]
    await one.write(tenant, batch, Dis.now_s + left_s, **more)


async def test_what_is_right_of_a_refused_request_and_all_others_are_written(monkeypatch):
    """400 is about some samples: later requests are sent, and the error is said at the end."""
    monkeypatch.setattr(remote_write, "REQUEST_SAMPLES", 1)
    dis = Dis(400, 204)
    with pytest.raises(NotWritten, match="400 why"):
        await write(writer(dis), samples=3)
    assert dis.asked == 3


@pytest.mark.parametrize("status", [0, 502, 503, 504])
async def test_who_waited_in_vain_makes_no_other_evaluation_wait(status):
    """Then nobody asks for a while, then one request at a time, until one is answered."""
    dis = Dis(status)
    one = writer(dis)
    with pytest.raises(NotWritten):
        await write(one, waits=False)
    asked = dis.asked
    assert asked > 1
    with pytest.raises(NotWritten, match="away a moment ago"):
        await write(one, waits=False)
    assert dis.asked == asked
    one.away.update(dict.fromkeys(one.away, Dis.now_s))
    with pytest.raises(NotWritten):
        await write(one, left_s=60, waits=False)
    assert dis.asked == asked + 1
    dis.answers = [204]
    one.away.update(dict.fromkeys(one.away, Dis.now_s))
    await write(one, waits=False)
    assert not one.away


async def test_one_tenants_trouble_is_no_others():
    """Only where there is no answer at all does nobody wait; who is no evaluation always waits."""
    dis = Dis(503)
    one = writer(dis)
    with pytest.raises(NotWritten):
        await write(one, waits=False)
    dis.answers = [503, 204]
    await write(one, tenant=SECOND, left_s=60, waits=False)
    dis.answers = [503, 204]
    await write(one, left_s=60)


async def test_a_plan_that_is_used_up_is_not_waited_for():
    """429 is tried again for some seconds, not for the whole evaluation."""
    dis = Dis(429)
    with pytest.raises(NotWritten, match="429"):
        await write(writer(dis), left_s=600, waits=False)
    assert dis.asked == 1
