"""nginx's stub_status page as metrics, named as nginx-prometheus-exporter names them.

Active connections: 2
server accepts handled requests
 10 10 31
Reading: 0 Writing: 1 Waiting: 1
"""

import re
from typing import Final

from data_ingest.protocols.prometheus_text import BadExposition
from data_ingest.scrape.samples import Family

WITHOUT_MODULE: Final = b""
"""Stands for the page of an nginx built without stub_status: it answers, without numbers."""

_PAGE: Final = re.compile(
    r"\s*Active connections:\s+(\d+)\s+server accepts handled requests(?: request_time)?"
    r"\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?"
    r"\s+Reading:\s+(\d+)\s+Writing:\s+(\d+)\s+Waiting:\s+(\d+)\s*",
    re.ASCII,
)
_NAMES: Final = (
    ("nginx_connections_active", "gauge", "Active client connections"),
    ("nginx_connections_accepted", "counter", "Accepted client connections"),
    ("nginx_connections_handled", "counter", "Handled client connections"),
    ("nginx_http_requests_total", "counter", "Total http requests"),
    ("nginx_connections_reading", "gauge", "Connections where NGINX is reading the request header"),
    (
        "nginx_connections_writing",
        "gauge",
        "Connections where NGINX is writing the response back to the client",
    ),
    ("nginx_connections_waiting", "gauge", "Idle client connections"),
)


def families(page: bytes) -> list[Family]:
    """The page's seven numbers and `nginx_up`; `BadExposition` when it is no stub_status page."""
    if page == WITHOUT_MODULE:
        return [up(True)]
    match = _PAGE.fullmatch(page.decode("ascii", "replace"))
    if match is None:
        raise BadExposition(
            detail="not a stub_status page of nginx",
            text=repr(page[:60].decode("ascii", "replace")),
        )
    numbers = [
        Family(name, kind, text, [((), float(number))])
        for (name, kind, text), number in zip(_NAMES, match.groups(), strict=True)
    ]
    return [up(True), *numbers]


def up(is_up: bool) -> Family:
    """Whether nginx answered."""
    return Family("nginx_up", "gauge", "Status of the last metric scrape", [((), float(is_up))])
