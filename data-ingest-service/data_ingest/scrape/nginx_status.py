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

_PAGE: Final = re.compile(
    r"\s*Active connections:\s+(\d+)\s+server accepts handled requests(?: request_time)?"
    r"\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?"
    r"\s+Reading:\s+(\d+)\s+Writing:\s+(\d+)\s+Waiting:\s+(\d+)\s*",
    re.ASCII,
)
_NUMBERS: Final = (
    ("nginx_connections_active", "gauge", "Active client connections."),
    ("nginx_connections_accepted", "counter", "Accepted client connections."),
    ("nginx_connections_handled", "counter", "Handled client connections."),
    ("nginx_http_requests_total", "counter", "Total http requests."),
    ("nginx_connections_reading", "gauge", "Connections whose request header is read."),
    ("nginx_connections_writing", "gauge", "Connections to which a response is written."),
    ("nginx_connections_waiting", "gauge", "Idle client connections."),
)


def families(page: bytes) -> list[Family]:
    """The page's seven numbers and `nginx_up`; `BadExposition` when it is no stub_status page."""
    text = page.decode("ascii", "replace")
    match = _PAGE.fullmatch(text)
    if match is None:
        raise BadExposition(detail="not a stub_status page of nginx", text=repr(text[:60]))
    numbers = zip(_NUMBERS, map(float, match.groups()), strict=True)
    return [up(True), *(Family(*about, [({}, number)]) for about, number in numbers)]


def up(is_up: bool) -> Family:
    """Whether nginx answered."""
    return Family("nginx_up", "gauge", "Status of the last metric scrape", [({}, is_up)])
