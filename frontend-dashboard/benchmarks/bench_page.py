"""What the page costs, on a running hub: time to figures, CPU, long tasks, heap, bytes, requests.

    make run                                                       # in another terminal
    .venv/bin/python benchmarks/bench_page.py [--state ../.data/state.json] [--minutes 10] [PART …]

Writes `--series` series × `--hours` of samples, signs in as the first owner and drives headless
Chromium. CPU is that of the browser's own processes, from /proc, as a share of one core; there is
no GPU, so painting counts as CPU. Everything shares the machine with the hub.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import build  # noqa: E402
import hub  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

VIEWS = ("overview", "explore", "analysis", "add", "settings")
REFRESH_S = 5
FIGURE = "[...document.querySelectorAll('.stat-value')].some((one) => /\\d/.test(one.textContent))"
CANVAS = "document.querySelector('coh-panel canvas') !== null"
LONG_MS = 50
# In the page before anything of it: when the first figure and canvas were there.
WATCH = f"""
window.seen = {{}};
const look = () => {{
  if (!("figure" in seen) && {FIGURE}) seen.figure = performance.now();
  if (!("canvas" in seen) && {CANVAS}) seen.canvas = performance.now();
}};
document.addEventListener("DOMContentLoaded", () => {{
  const all = {{ childList: true, subtree: true, characterData: true }};
  new MutationObserver(look).observe(document, all);
}});
addEventListener("click", (event) => {{
  if (event.target.closest?.("button[type=submit]")) window.clickedMs = performance.now();
}}, true);
"""


class Bench:
    """One browser, signed in at one hub."""

    def __init__(self, browser: Browser, at: hub.Hub, args: argparse.Namespace) -> None:
        self.browser = browser
        self.hub = at
        self.args = args
        self.context = self.new_context()
        self.page = self.context.new_page()
        self.sign_in(self.page)

    def new_context(self) -> BrowserContext:
        """A browser that knows nothing yet."""
        # waiting for a condition evaluates text, which the page's policy forbids
        context = self.browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        context.add_init_script(WATCH)
        context.set_default_timeout(60_000)
        return context

    def sign_in(self, page: Page) -> None:
        """The page shows the Overview's first canvas, by way of the form."""
        page.goto(f"{self.hub.url}/#/login")
        page.fill("[name=email]", self.args.email)
        page.fill("[name=password]", self.args.password)
        page.evaluate("window.seen = {}")
        page.click("button[type=submit]")
        page.wait_for_function("'figure' in seen && 'canvas' in seen")

    def show(self, view: str, **params: str) -> None:
        """The page shows this view, loaded anew."""
        query = f"?{urlencode(params)}" if params else ""
        self.page.goto("about:blank")
        self.page.goto(f"{self.hub.url}/#/{view}{query}")
        self.page.wait_for_selector("coh-shell")

    def pids(self) -> dict[str, list[int]]:
        """The browser's processes, by kind."""
        session = self.browser.new_browser_cdp_session()
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        session.detach()
        kinds: dict[str, list[int]] = {}
        for process in processes:
            kinds.setdefault(process["type"], []).append(process["id"])
        return kinds

    def first_figures(self) -> dict[str, Any]:
        """Milliseconds to the first figure and canvas: after the click of the sign-in form, and
        after the start of a reload; medians.
        """
        runs: dict[str, list[float]] = {}
        for _ in range(self.args.repeat):
            context = self.new_context()
            page = context.new_page()
            self.sign_in(page)
            for name in ("figure", "canvas"):
                spent = page.evaluate(f"seen.{name} - clickedMs")
                runs.setdefault(f"{name} after sign-in, ms", []).append(spent)
            page.reload()
            page.wait_for_function("'figure' in seen && 'canvas' in seen")
            for name in ("figure", "canvas"):
                runs.setdefault(f"{name} after reload, ms", []).append(
                    page.evaluate(f"seen.{name}")
                )
            context.close()
        return {name: round(statistics.median(spent)) for name, spent in runs.items()}

    def idle(self) -> dict[str, Any]:
        """CPU of an Overview that nobody touches, as % of a core, and of das meanwhile."""
        self.show("overview")
        self.page.wait_for_function(CANVAS)
        self.page.wait_for_timeout(10_000)
        kinds = self.pids()
        counted = {kind: hub.cpu_of(pids) for kind, pids in kinds.items()}
        das_s = self.hub.cpu_s("das")
        started_s = time.monotonic()
        self.page.wait_for_timeout(self.args.idle_s * 1000)
        spent_s = time.monotonic() - started_s
        shares = {
            kind: round(100 * (hub.cpu_of(pids) - counted[kind]) / spent_s, 1)
            for kind, pids in kinds.items()
        }
        das = round(100 * (self.hub.cpu_s("das") - das_s) / spent_s, 1)
        return {"browser in all, %": round(sum(shares.values()), 1), **shares, "das, %": das}

    def tasks(self, act: Callable[[], Any], wait_ms: int) -> list[tuple[float, float]]:
        """(wall, CPU) milliseconds of each task of the page's main thread, from `act` on."""
        session = self.browser.new_browser_cdp_session()
        events: list[dict[str, Any]] = []
        ended: list[bool] = []
        session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
        session.on("Tracing.tracingComplete", lambda _: ended.append(True))
        config = {"includedCategories": ["toplevel", "__metadata"]}
        session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
        act()
        self.page.wait_for_timeout(wait_ms)
        session.send("Tracing.end")
        while not ended:
            self.page.wait_for_timeout(50)
        session.detach()
        main = {
            (event["pid"], event["tid"])
            for event in events
            if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
        }
        return [
            (event["dur"] / 1000, event.get("tdur", 0) / 1000)
            for event in events
            if event["ph"] == "X"
            and event["name"] == "ThreadControllerImpl::RunTask"
            and (event["pid"], event["tid"]) in main
        ]

    def long_tasks(self) -> dict[str, Any]:
        """The longest task while a person looks at `--series` series in Explore: what it took, and
        what of that was its own CPU (on a busy machine the rest was waiting for a core).
        """
        page = self.page
        said: dict[str, Any] = {}

        def during(name: str, act: Callable[[], Any], wait_ms: int = 3000) -> None:
            tasks = self.tasks(act, wait_ms)
            wall_ms, cpu_ms = (round(max(column, default=0)) for column in zip(*tasks, strict=True))
            over = sum(cpu > LONG_MS for _, cpu in tasks)
            said[name] = f"{wall_ms} ms, CPU {cpu_ms} ms; {over} over {LONG_MS} ms of CPU"

        search = {"q": hub.METRIC, "refresh": "0"}
        during("open", lambda: self.show("explore", **search), 6000)
        box = page.locator("coh-panel .u-over").bounding_box()
        assert box is not None, "there is no chart"
        middle = box["y"] + box["height"] / 2

        def hover() -> None:
            for step in range(60):
                page.mouse.move(box["x"] + box["width"] * step / 60, middle)

        def drag() -> None:
            page.mouse.move(box["x"] + box["width"] * 0.3, middle)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.7, middle, steps=10)
            page.mouse.up()

        during("hover", hover)
        during("refresh", lambda: page.keyboard.press("r"))
        during("zoom", drag)
        during("back", lambda: page.keyboard.press("Backspace"))
        during("isolate", page.locator(".legend-entry").first.click)
        during("all again", page.locator(".legend-entry").first.click)
        during("legend, 100 rows", page.locator("coh-legend > .link").click)
        during("refresh of it", lambda: page.keyboard.press("r"))
        return said

    def heap(self) -> dict[str, Any]:
        """MiB of JavaScript after a collection, each minute of an Overview that nobody touches."""
        self.show("overview")
        self.page.wait_for_function(CANVAS)
        session = self.context.new_cdp_session(self.page)
        used = []
        for minute in range(self.args.minutes + 1):
            if minute:
                self.page.wait_for_timeout(60_000)
            session.send("HeapProfiler.collectGarbage")
            used.append(round(session.send("Runtime.getHeapUsage")["usedSize"] / 2**20, 2))
        nodes = session.send("Memory.getDOMCounters")
        session.detach()
        return {
            "MiB by minute": used,
            "nodes": nodes["nodes"],
            "listeners": nodes["jsEventListeners"],
        }

    def bytes(self) -> dict[str, Any]:
        """Kilobytes (1024) of the whole page, gzipped as nginx sends it."""
        files = build.build(
            build.read_sources(
                build.HERE / "index.html", build.HERE / "src", build.find_uplot(None)
            )
        )
        sizes = [len(gzip.compress(content, 9, mtime=0)) for content in files.values()]
        return {"kB gzipped": round(sum(sizes) / 1024, 1), "files": len(sizes)}

    def refreshes(self) -> dict[str, Any]:
        """Requests, and CPU of das, of one refresh of each view, by the average of six."""
        said: dict[str, Any] = {}
        urls: list[str] = []
        self.page.on("request", lambda one: urls.extend([one.url] if "/api/" in one.url else []))
        for view in VIEWS:
            self.show(
                view, refresh=str(REFRESH_S), **({"q": hub.METRIC} if view == "explore" else {})
            )
            self.page.wait_for_timeout(8000)
            urls.clear()
            das_s = self.hub.cpu_s("das")
            self.page.wait_for_timeout(6 * REFRESH_S * 1000)
            das_ms = 1000 * (self.hub.cpu_s("das") - das_s) / 6
            said[view] = {"requests": round(len(urls) / 6, 1), "das, ms": round(das_ms)}
        return said


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "first_figures": Bench.first_figures,
    "idle": Bench.idle,
    "long_tasks": Bench.long_tasks,
    "refreshes": Bench.refreshes,
    "bytes": Bench.bytes,
    "heap": Bench.heap,
}


def main() -> None:
    """One block of lines for each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--state", type=Path, default=HERE.parents[1] / ".data" / "state.json")
    parser.add_argument("--email", default="owner@example.com")
    parser.add_argument("--password", default="four quiet otters swim")
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--idle-s", type=int, default=60)
    parser.add_argument("--minutes", type=int, default=10)
    args = parser.parse_args()
    at = hub.Hub.of_state(args.state)
    at.make_owner(args.email, args.password)
    at.write_samples(args.series, args.hours)
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        bench = Bench(browser, at, args)
        for name in args.parts or PARTS:
            print(name)
            for what, figure in PARTS[name](bench).items():
                print(f"  {what:<28} {figure}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
