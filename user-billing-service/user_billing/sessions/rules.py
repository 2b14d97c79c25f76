"""How long a session lives, and what is shown of where it is. Pure: docs/adr/0002-identity.md."""

from datetime import timedelta

from user_billing.throttle.rules import network_of

SESSION_IDLE = timedelta(hours=24)
SESSION_ABSOLUTE = timedelta(days=30)
SEEN_RESOLUTION = timedelta(minutes=1)


def network(address: str) -> str | None:
    """The network of an address, coarse enough to be no person: /24, or /48 of IPv6."""
    return network_of(address, 24, 48)


_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"), ("curl/", "curl"), ("python-", "Python"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"),
    ("Mac OS", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_words(user_agent: str) -> str:
    """The kind of browser and system: `Firefox on Linux`; never the header itself."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "another program")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    return browser if system is None else f"{browser} on {system}"
