"""Hot reads, which stand in front of FastAPI, answer as its routes do."""

import pytest

ODD = [
    ("GET", "query?query=1"), ("GET", "query/"), ("HEAD", "query"), ("OPTIONS", "query"),
    ("PUT", "query"), ("GET", "query?query=%ff"), ("GET", "query?query=1&time=zz"),
    ("GET", "query?query=%00"), ("GET", "query?query=1&limit=-1"), ("GET", "query"),
    ("GET", "query_range?query=1&start=0&end=1e300&step=1"), ("GET", "labels?match[]="),
    ("GET", "series"), ("DELETE", "series"), ("GET", "series?match[]=up"), ("GET", "labels"),
    ("GET", "label/a%2Fb/values"), ("GET", "label//values"), ("GET", "label/%00/values"),
    ("GET", "label/%7Bname%7D/values"), ("POST", "label/a/values"), ("GET", "label/%ff/values"),
    ("GET", "label/values/values"), ("GET", "{name}/values"), ("GET", "/query?query=1"),
]  # fmt: skip
FORMS = [
    (b"query=1", "application/x-www-form-urlencoded"), (b"query=1", "text/plain"),
    (b"x" * (2 << 20), "application/x-www-form-urlencoded"), (b"--a", "multipart/form-data"),
]  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"X-API-Key": "x"}, {"X-CloudOpsHub-Service": "dis"}])
async def test_a_hot_read_answers_as_its_route_does(serve, hub, tenant, more):
    """Status, headers and body are the same: paths, methods, parameters and forms that are odd,
    callers that are unknown, requests for another service.
    """
    first, routed = await serve(), await serve()
    assert routed._transport.app._reads
    routed._transport.app._reads.clear()
    key = {"X-API-Key": hub.key(tenant)}

    async def compare(method, url, **request):
        headers = key | more | request.pop("headers", {})
        answers = []
        for client in (first, routed):
            one = await client.request(method, url, headers=headers, **request)
            assert one.headers.pop("x-request-id")
            answers.append((one.status_code, dict(one.headers), one.content))
        assert answers[0] == answers[1], url

    for prefix in ("/api/v1/", "/prometheus/api/v1/"):
        for method, url in ODD:
            await compare(method, prefix + url)
    for body, kind in FORMS:
        await compare("POST", "/api/v1/query", content=body, headers={"Content-Type": kind})
