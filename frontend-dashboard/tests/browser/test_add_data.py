"""Add data: snippets that work, and the first sample."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from contract import State
    from page import Open


def test_the_first_sample_is_seen_arriving(open_page: Open, state: State) -> None:
    """A key is made on a click, stands in every snippet, and curl's sample shows up by itself."""
    page = open_page("#/add")
    expect(page.get_by_text("Waiting for the first sample")).to_be_visible()
    expect(page.locator(".paste")).to_contain_text("coh_live_…")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    assert json.loads(state.asked("ubs", "/api/v1/keys")[-1].body)["scopes"] == [
        "metrics:write",
        "metrics:read",
    ]
    for agent, piece in (
        ("OpenTelemetry", "prometheusremotewrite:"),
        ("Telegraf", 'data_format = "prometheusremotewrite"'),
        ("Grafana", "type: prometheus"),
        ("curl", "base64 -d"),
    ):
        page.get_by_role("tab", name=agent).click()
        expect(page.locator(".paste")).to_contain_text(piece)
        expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    for _ in range(2):  # at the second it has had the answer of the first
        with page.expect_response("**/api/v1/label/__name__/values*"):
            pass
    state.metrics.append("hello_cloudopshub")
    expect(page.get_by_text("Samples are arriving")).to_be_visible()
    expect(page.locator(".arrived")).to_contain_text("hello_cloudopshub")


def test_the_curl_snippet_really_sends_a_sample(
    open_page: Open, state: State, tmp_path: Path
) -> None:
    """Pasted into a shell, it delivers a remote_write request that decodes to that sample."""
    import shutil  # noqa: PLC0415 - only here
    import subprocess  # noqa: PLC0415

    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("no curl or bash on this machine")
    page = open_page("#/add?agent=curl")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    command = page.locator(".paste pre").inner_text()
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.strip() == "204", done.stderr
    (request,) = state.asked("dis", "/api/v1/write")
    assert request.headers["authorization"].startswith("Bearer coh_live_")
    assert request.headers["content-encoding"] == "snappy"
    length, runs = request.body[0], request.body[1:]
    plain = b""
    while runs:
        size = (runs[0] >> 2) + 1
        plain, runs = plain + runs[1 : 1 + size], runs[1 + size :]
    assert len(plain) == length
    assert b"hello_cloudopshub" in plain
    assert b"source" in plain
