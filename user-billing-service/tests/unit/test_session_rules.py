"""Where a session is, in words that are no person."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.sessions.rules import browser_words, network


@given(st.ip_addresses())
def test_a_network_holds_its_address_and_at_least_256_others(address):
    """The address is inside, a whole subscriber network or more is too."""
    shown = ipaddress.ip_network(network(str(address)))
    mapped = getattr(address, "ipv4_mapped", None)
    assert (mapped or address) in shown
    assert shown.num_addresses >= 256


@given(st.text(alphabet="abcxyz:/ ", max_size=20))
def test_text_that_is_no_address_has_no_network(text):
    """A Unix socket or a broken header is nowhere."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert network(text) is None


WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Safari/604.1"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0", "Firefox on Linux"),
        (WINDOWS, "Chrome on Windows"),
        (f"{WINDOWS} Edg/140.0.0.0", "Edge on Windows"),
        (IPHONE, "Safari on iOS"),
        ("curl/8.5.0", "curl"),
        ("", "another program"),
    ],
)
def test_a_browser_is_told_in_words(header, words):
    """What a person knows their browser by; nothing of the header itself."""
    assert browser_words(header) == words


@given(st.text())
def test_words_never_repeat_the_header(header):
    """Any header gives one of a few phrases."""
    assert len(browser_words(header)) < 30
