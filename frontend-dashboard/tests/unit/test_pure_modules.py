"""The page's pure modules, each law of tests/unit/*.test.js run in headless Chromium."""

from __future__ import annotations

import functools
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]
LAW = re.compile(r'^test\("((?:[^"\\]|\\.)+)"', re.MULTILINE)
LAWS = [
    (path.name, law)
    for path in sorted(Path(__file__).parent.glob("*.test.js"))
    for law in LAW.findall(path.read_text())
]


class Quiet(SimpleHTTPRequestHandler):
    """Static files with the type that modules need."""

    extensions_map = {  # noqa: RUF012 - as the base class declares it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
    }

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def outcomes(chromium: Browser) -> Iterator[dict[tuple[str, str], str | None]]:
    """(file, law) → None, or what went wrong; every file is run once."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(ROOT)))
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    page = chromium.new_page()
    page.goto(f"{base}/tests/unit/harness.js")
    found: dict[tuple[str, str], str | None] = {}
    for name in sorted({file for file, _ in LAWS}):
        told = page.evaluate(
            """async (url) => {
                await import(url);
                return (await import(new URL("harness.js", url))).run();
            }""",
            f"{base}/tests/unit/{name}",
        )
        found |= {(name, law): outcome for law, outcome in told.items()}
    page.close()
    yield found
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


@pytest.mark.parametrize(
    ("file", "law"), LAWS, ids=[f"{file.removesuffix('.test.js')}: {law}" for file, law in LAWS]
)
def test_law(file: str, law: str, outcomes: dict[tuple[str, str], str | None]) -> None:
    """The law of this name holds."""
    assert outcomes[file, law] is None, outcomes[file, law]


def test_every_law_was_run(outcomes: dict[tuple[str, str], str | None]) -> None:
    """No law is registered that the list above would miss."""
    assert set(outcomes) == set(LAWS)
