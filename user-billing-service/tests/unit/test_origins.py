"""Where a request comes from."""

import ipaddress

import pytest

from user_billing.api.origins import verdict
from user_billing.chassis.callers import client_address

UI = "https://hub.example.org"
TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "unknown"),
        ({"sec-fetch-site": "same-origin"}, "same"),
        ({"sec-fetch-site": "none"}, "same"),
        ({"sec-fetch-site": "same-site"}, "cross"),
        ({"sec-fetch-site": "cross-site", "origin": UI}, "cross"),
        ({"origin": UI}, "same"),
        ({"origin": "https://hub.example.org:443"}, "same"),
        ({"origin": "http://hub.example.org"}, "cross"),
        ({"origin": "https://evil.example.org"}, "cross"),
        ({"origin": "https://hub.example.org.evil.net"}, "cross"),
        ({"origin": "null"}, "cross"),
        ({"origin": "https://hub.example.org:99999"}, "cross"),
        ({"origin": "http://192.0.2.1:8080", "host": "192.0.2.1:8080"}, "same"),
        ({"origin": "http://192.0.2.1:8080", "host": "192.0.2.1:8081"}, "cross"),
        ({"origin": "http://192.0.2.1", "host": "192.0.2.1"}, "same"),
    ],
    ids=str,
)
def test_a_browser_says_where_a_request_starts(headers, expected):
    """Sec-Fetch-Site decides; else Origin is the public URL or the host the request was sent to."""
    assert verdict(headers, public_url=UI) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "hops", "expected"),
    [
        ("192.0.2.9", "203.0.113.1", 1, "192.0.2.9"),
        ("10.0.0.2", "203.0.113.1", 1, "203.0.113.1"),
        ("::ffff:10.0.0.2", "203.0.113.1", 1, "203.0.113.1"),
        ("10.0.0.2", "1.1.1.1, 203.0.113.1, 10.0.0.3", 2, "203.0.113.1"),
        ("10.0.0.2", None, 1, "10.0.0.2"),
        ("10.0.0.2", "garbage", 1, "garbage"),
        ("", "203.0.113.1", 1, ""),
        ("10.0.0.2", "203.0.113.1, 10.9.9.9", 1, "10.9.9.9"),
        ("10.0.0.2", "10.1.1.1, 10.9.9.9", 1, "10.9.9.9"),
        ("10.0.0.2", "203.0.113.1, 10.9.9.9, 10.0.0.3", 2, "10.9.9.9"),
        ("10.0.0.2", "10.9.9.9", 3, "10.9.9.9"),
    ],
)
def test_forwarded_addresses_count_from_trusted_proxies_only(peer, forwarded, hops, expected):
    """The walk from the end of X-Forwarded-For stops at the first address nobody vouches for, and
    after as many entries as proxies write one: a client whose own address is of a trusted network
    chooses no other.
    """
    assert client_address(peer, forwarded, TRUSTED, hops) == expected
