"""The front door from outside: it starts, answers its probes, serves the page, and refuses what is
not for the public.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest


def test_boots_and_answers_its_probes(base: str) -> None:
    """Nginx is up with the rendered configuration and says so."""
    for probe in ("/health", "/ready"):
        with urllib.request.urlopen(f"{base}{probe}", timeout=5) as response:
            assert json.load(response)["status"] == "ok"


def test_serves_the_page(base: str) -> None:
    """The happy path: the page and the module it starts with."""
    with urllib.request.urlopen(f"{base}/", timeout=5) as response:
        page = response.read().decode()
    assert '<div id="app">' in page
    module = page.split('<script type="module" src="')[1].split('"')[0]
    with urllib.request.urlopen(f"{base}{module}", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/javascript")


def test_refuses_internal_routes(base: str) -> None:
    """The refusal: a service's internal routes are not there."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{base}/api/user-billing-service/internal/introspect", timeout=5)
    with refused.value:
        assert refused.value.code == 404
