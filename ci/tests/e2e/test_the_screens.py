"""What a person meets on the screens of the page, on real services."""

import re
import time
from collections import Counter
from urllib.parse import parse_qs

import pytest
from people import VIEWER

PLACES = (
    "#/overview",
    "#/explore",
    "#/explore?q=up",
    "#/analysis",
    "#/analysis?new=1",
    "#/events",
    "#/events/watches",
    "#/add",
    "#/settings/members",
    "#/settings/keys",
    "#/settings/audit",
    "#/settings/organisation",
    "#/settings/signin",
    "#/usage",
)
IDLE = """new Promise((done) => {
    let quiet = 0;
    const look = () => {
        const busy = [...document.querySelectorAll(".state-loading, .busy")].some((node) => {
            const box = node.getBoundingClientRect();
            return box.height > 0 && box.top < innerHeight;
        });
        quiet = busy ? 0 : quiet + 1;
        if (quiet > 10) done(); else requestAnimationFrame(look);
    };
    look();
})"""


def go(page, hash_):
    """The page is at `hash_`, and nothing in its window is loading."""
    page.evaluate("(hash) => { location.hash = hash; }", hash_)
    page.locator("h1").wait_for()
    page.evaluate(IDLE)


def focused(page):
    """What has the focus: BODY is nothing."""
    return page.evaluate("document.activeElement.tagName")


# -- typing


def test_what_is_typed_into_a_filled_field_replaces_its_choice(sign_in):
    """By keyboard or by a click: the next letters are a new search, not the old one's tail."""
    page = sign_in("#/explore?q=up&m=up")
    metric = page.get_by_role("combobox", name="Metric")
    metric.click()
    page.keyboard.type("node_load1")
    assert metric.input_value() == "node_load1"
    page.get_by_role("option", name=re.compile(r"^node_load1\b")).click()
    page.wait_for_url("**m=node_load1*")
    page.get_by_role("textbox", name="Query").focus()
    page.keyboard.press("Shift+Tab")
    while page.evaluate("document.activeElement.ariaLabel") != "Metric":
        page.keyboard.press("Shift+Tab")
    page.keyboard.type("node_load5")
    page.keyboard.press("Enter")
    page.wait_for_url("**m=node_load5*")


def test_a_click_within_the_text_is_a_place_to_type(sign_in):
    """Whoever is in a field already moves the caret; nothing is selected under it."""
    page = sign_in("#/explore?q=up&m=up")
    metric = page.get_by_role("combobox", name="Metric")
    metric.click()
    metric.click(position={"x": 20, "y": 10})
    assert metric.evaluate("(input) => input.selectionEnd - input.selectionStart") == 0


def test_a_refresh_takes_nothing_from_what_is_typed(sign_in):
    """A query that is half written stays while the chart below it goes on."""
    page = sign_in("#/explore?q=up&refresh=5")
    box = page.get_by_role("textbox", name="Query")
    box.fill("up + ")
    for _ in range(2):
        with page.expect_response("**/query_range*"):
            pass
    page.keyboard.type("1")
    assert box.input_value() == "up + 1"


def test_a_change_in_settings_keeps_what_is_typed_beside_it(sign_in):
    """A role is changed while an address is half written; the select keeps the focus."""
    sign_in.viewer()
    page = sign_in("#/settings/members")
    page.get_by_label("Email").fill("half@exam")
    role = page.get_by_label(f"Role of {VIEWER}")
    role.focus()
    with page.expect_response("**/members"):
        role.select_option("admin")
    page.get_by_text(f"{VIEWER} is admin now").wait_for()
    page.evaluate(IDLE)
    assert page.get_by_label("Email").input_value() == "half@exam"
    assert focused(page) == "SELECT"
    with page.expect_response("**/members"):
        role.select_option("viewer")


# -- widths


@pytest.mark.parametrize("place", ["members", "keys", "audit"])
def test_the_rows_of_settings_are_cards_on_a_phone(sign_in, place):
    """At 375 pixels every cell is in the window, whole, under the name of its column."""
    sign_in.viewer()
    page = sign_in(f"#/settings/{place}", viewport={"width": 375, "height": 812})
    page.locator("tbody tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    cells = page.locator("tbody td")
    cut = cells.evaluate_all(
        """(cells) => cells.filter((cell) => cell.offsetParent).filter((cell) =>
            cell.getBoundingClientRect().right > 375 || cell.scrollWidth > cell.clientWidth
        ).map((cell) => cell.textContent)"""
    )
    assert cut == []
    name = cells.first.evaluate("(cell) => getComputedStyle(cell, '::before').content")
    assert name in {'"Email"', '"Key"', '"When"'}


# -- roles


def test_a_viewer_is_refused_nothing(sign_in):
    """No screen asks for what the role may not have; what is not for it is said in words."""
    page = sign_in.viewer()
    for place in PLACES:
        go(page, place)
        assert page.locator(".state-failed").count() == 0, place
    assert sign_in.refused == []
    for place, words in (
        ("members", "Members are for owners and admins"),
        ("keys", "API keys are for owners and admins"),
    ):
        go(page, f"#/settings/{place}")
        page.get_by_text(words).wait_for()
    go(page, "#/add")
    page.get_by_text("Your role cannot make keys").wait_for()
    start = re.compile("New analysis|Find anomalies|Start")
    for place in ("#/analysis?new=1", "#/explore?q=up"):
        go(page, place)
        assert page.get_by_role("button", name=start).count() == 0


def test_an_empty_organisation_says_what_to_do(sign_in):
    """No error, no chart of nothing, and nothing told as up: a way to the first sample."""
    page = sign_in("#/settings/organisation")
    page.get_by_label("Name").fill("Empty Lake")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("You are in Empty Lake now").wait_for()
    sign_in.refused.clear()  # the session before this one is over
    for place in PLACES:
        go(page, place)
        if re.match("#/(overview|explore|analysis|events)", place):
            page.get_by_text("Empty Lake has no samples yet").wait_for()
            assert page.locator("coh-panel:visible, coh-stat-tile:visible").count() == 0
        assert page.locator(".state-failed").count() == 0, place
        claims = page.get_by_text(re.compile(r"\bup\b", re.IGNORECASE)).locator("visible=true")
        assert claims.count() == 0, place
    assert sign_in.refused == []
    go(page, "#/overview")
    page.get_by_role("link", name="Add data").last.click()
    page.get_by_role("button", name="Make a key").wait_for()


# -- requests


def wanted(request):
    """What a request asks for, whatever the time it asks at."""
    fields = parse_qs(request.post_data or "")
    for name in ("time", "start", "end"):
        fields.pop(name, None)
    path = re.sub(r"(start|end)=[\d.]+", "", request.url)
    return request.method, path, str(sorted(fields.items()))


ASKED_AGAIN = (  # every few seconds
    "label/__name__/values",
    "label/job/values",
    "/jobs?",
    "/events?",
    "/watches",
)


def test_nothing_is_asked_twice(sign_in):
    """A view that opens asks for each thing once, by a link, by Back and for another range."""
    page = sign_in("#/settings/organisation")
    seen = []
    page.on("request", lambda request: seen.append(wanted(request)))

    def asked_twice():
        page.evaluate(IDLE)
        times = Counter(request for request in seen if "/api/" in request[1])
        seen.clear()
        return [
            request
            for request, count in times.items()
            if count > 1 and not any(part in request[1] for part in ASKED_AGAIN)
        ]

    for place in PLACES:
        go(page, f"{place}{'&' if '?' in place else '?'}refresh=0")
        assert asked_twice() == [], place
        go(page, "#/settings/organisation?away")
        seen.clear()
        page.go_back()
        assert asked_twice() == [], f"{place} by Back"
        if page.locator("coh-panel").count() > 0:
            page.get_by_role("button", name="Zoom out").click()
            assert asked_twice() == [], f"{place}, another range"


# -- focus


def test_the_focus_is_never_lost(sign_in):
    """After a view, a dialog, a choice and a deletion something in the page has the focus."""
    page = sign_in("#/settings/organisation")
    for place in PLACES:
        go(page, place)
        assert focused(page) != "BODY", place
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert focused(page) != "BODY"
    go(page, "#/settings/keys")
    page.get_by_label("Name").fill("to be revoked")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text="to be revoked").first
    row.get_by_role("button", name="Revoke").click()
    with page.expect_response("**/keys"):
        page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    page.evaluate(IDLE)
    assert page.evaluate("document.activeElement.textContent") == "Keys"
    go(page, "#/add")
    for agent in ("Telegraf", "curl"):
        page.get_by_role("tab", name=agent).click()
        assert page.evaluate("document.activeElement.textContent") == agent
    page.get_by_role("button", name="Make a key").click()
    page.locator(".key-box coh-snippet").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Copy"


def test_the_focus_outlives_the_answers_about_a_job(sign_in):
    """A row of the list and the button that cancels stay what they are, second after second."""
    page = sign_in(f"#/analysis?new=1&q=node_load1+%2B+{time.time_ns()}&from=now-7d&to=now")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"#/analysis/[0-9a-f-]+$"))
    row = page.locator(f".job[href='{page.url[page.url.index('#') :]}']")
    row.focus()
    for _ in range(2):
        with page.expect_response("**/jobs?*"):
            pass
    assert row.evaluate("(node) => node === document.activeElement")


# -- analyses and watches


def test_an_analysis_is_read_a_series_at_a_time(sign_in):
    """Each kind has its form; a result tells what was judged, and names its series by score."""
    page = sign_in("#/analysis?new=1&q=node_load1&from=now-1h&to=now")
    kinds = page.get_by_role("combobox", name="Analysis")
    for title in kinds.locator("option").all_inner_texts():
        kinds.select_option(title)
        page.locator("form h2").get_by_text(title, exact=True).wait_for()
    kinds.select_option("anomaly")
    page.get_by_role("button", name="Start").click()
    page.locator(".analysis-main .pill.succeeded").wait_for(timeout=120_000)
    page.locator(".fact").get_by_text(re.compile(r"\d of \d+ series judged")).wait_for()
    page.locator(".analysis-main").get_by_role("button", name="node_load1").first.click()
    page.get_by_role("heading", name=re.compile("node_load1")).wait_for()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url(re.compile(r"#/analysis$"))


def test_a_bad_query_of_an_analysis_is_told_where_it_is_bad(sign_in):
    """At the query, before any job is made."""
    page = sign_in("#/analysis?new=1&q=nonsense(up)")
    page.get_by_role("button", name="Start").click()
    page.locator("form mark").get_by_text("nonsense").wait_for()


def test_a_watch_is_made_stopped_and_deleted(sign_in):
    """It is in the list as it is, without a reload."""
    page = sign_in("#/events/watches")
    name = f"load {time.time_ns()}"
    page.get_by_label("Name").fill(name)
    page.get_by_label("Query").fill("node_load1")
    page.get_by_role("button", name="Watch", exact=True).click()
    row = page.get_by_role("row").filter(has_text=name)
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("stopped").wait_for()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    row.wait_for(state="detached")


# -- charts that are live


def test_arrow_keys_read_a_live_chart_and_a_refresh_moves_nothing(sign_in):
    """The moment that is read stays while samples go on arriving; zooming out stays live."""
    page = sign_in("#/explore?q=node_load1&from=now-5m&refresh=5")
    chart = page.locator("coh-chart")
    page.locator("coh-legend tbody tr").wait_for()
    chart.focus()
    label = chart.get_attribute("aria-label")
    assert label.startswith("Result: 1 series; last values node_load1"), label
    page.keyboard.press("ArrowLeft")
    read = chart.locator("[aria-live]").inner_text()
    assert re.match(r"\d+ \w+ \d+, \d\d:\d\d:\d\d: node_load1 [\d.]+", read), read
    for _ in range(2):
        with page.expect_response("**/query_range*"):
            pass
    assert chart.locator("[aria-live]").inner_text() == read
    page.keyboard.press("ArrowLeft")
    assert chart.locator("[aria-live]").inner_text() != read
    page.keyboard.press("-")
    page.get_by_text("now-10m to now").wait_for()
    page.get_by_text("Live", exact=True).wait_for()


LISTEN = """() => {
    window.spoken = [];
    const said = ({ target }) => window.spoken.push(target.textContent);
    const all = { childList: true, characterData: true, subtree: true };
    const regions = "[role=status], [role=alert], [aria-live]";
    for (const node of document.querySelectorAll(regions))
        new MutationObserver((changes) => changes.forEach(said)).observe(node, all);
}"""


def test_a_refresh_is_not_spoken(sign_in):
    """What a screen reader would say by itself does not change with every answer."""
    page = sign_in("#/explore?q=node_load1&refresh=5")
    page.evaluate(IDLE)
    page.evaluate(LISTEN)
    for _ in range(3):
        with page.expect_response("**/query_range*"):
            pass
    assert page.evaluate("window.spoken") == []


def test_samples_that_arrive_are_spoken_of_once(sign_in, platform):
    """The news is told; the figures that follow it every few seconds are not."""
    page = sign_in("#/add")
    for _ in range(2):
        with page.expect_response("**/label/__name__/values*"):
            pass
    labels = {"__name__": f"e2e_arrival_{time.time_ns()}", "job": "otters"}
    assert platform.write(labels, [(time.time_ns() // 1_000_000, 1.0)]) == 204
    page.get_by_text("Samples are arriving").wait_for()
    link = page.locator(".arrived a").first
    link.focus()
    page.evaluate(LISTEN)
    for _ in range(2):
        with page.expect_response("**/query_range*"):
            pass
    assert page.evaluate("window.spoken") == []
    assert link.evaluate("(node) => node === document.activeElement")


def test_forced_colours_keep_edges_and_series_apart(sign_in):
    """Where the system chooses the colours, buttons have edges and series their own dashes."""
    page = sign_in("#/explore?q=up", forced_colors="active")
    page.locator("coh-legend tbody tr").first.wait_for()
    bare = page.evaluate(
        """[...document.querySelectorAll(".button")].filter((node) => node.offsetParent)
            .filter((node) => getComputedStyle(node).borderTopStyle === "none").length"""
    )
    assert bare == 0
    lines = page.locator("coh-legend .swatch").evaluate_all(
        """(nodes) => nodes.map((node) => getComputedStyle(node).background)"""
    )
    assert len(set(lines)) == len(lines) > 3
