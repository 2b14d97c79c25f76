"""Laws of targets: how a setting names them, and what of them is never shown."""

import base64

import pytest

from data_ingest.scrape import scraper, targets
from data_ingest.scrape.targets import BadTargets, next_round_ms
from data_ingest.scrape.words import duration_text
from tests.scrapes import READING, settings_of, target


def test_targets_of_the_setting() -> None:
    """`job=url` items, blanks around them ignored; the instance is host and port; two pages of one
    job and host are two targets.
    """
    text = " a=http://h:1/metrics , b=https://h/x,c=http://[::1]:9/m,b=https://h/x?target=2,"
    parsed = targets.parse("DIS_SCRAPE_TARGETS", text, READING)
    assert [(t.pool, dict(t.labels)) for t in parsed] == [
        ("a", {"job": "a", "instance": "h:1"}),
        ("b", {"job": "b", "instance": "h:443"}),
        ("c", {"job": "c", "instance": "[::1]:9"}),
        ("b", {"job": "b", "instance": "h:443"}),
    ]
    assert len({*parsed}) == len({t.key for t in parsed}) == 4
    assert dict(parsed[3].discovered)["__param_target"] == "2"
    assert targets.parse("DIS_SCRAPE_TARGETS", "", READING) == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("a", "job=http"),
        ("=http://h", "job=http"),
        ("a=ftp://h", "http://"),
        ("a=http://", "host"),
        ("a=http://b c/", "host"),
        ("a=/metrics", "http://"),
        ("a=http://h:99999/metrics", "1 to 65535"),
        ("a=http://h:0/metrics", "1 to 65535"),
        ("a=http://h:x/metrics", "1 to 65535"),
        ("a=http://[::1/metrics", "host"),
        ("a=http://1.2.3.999/metrics", "not a URL"),
        ("first=HTTP://h:80", "twice"),
        ("\udcff=http://h", "utf-8"),
    ],
)
def test_bad_targets(entry: str, reason: str) -> None:
    """Anything else stops the start, and the entry is named by its number and job."""
    job = entry.partition("=")[0]
    with pytest.raises(BadTargets, match=reason) as raised:
        targets.parse("DIS_SCRAPE_TARGETS", f"first=http://h/,{entry},last=http://h:2/", READING)
    assert f"DIS_SCRAPE_TARGETS, entry 2{', ' + job if job else ''}: " in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@h/",
        "http://s3cret@h/",
        "http://h/?access_token=s3cret&x=1",
        "http://h/?X-Amz-Signature=s3cret",
        "http://h/?key=s3cret",
    ],
)
def test_a_credential_is_never_shown(url: str) -> None:
    """A credential in a URL is in no label, text or answer of the target; it is sent."""
    parsed = target(url)
    shown = [parsed.shown_url, *map(str, parsed.labels)]
    shown += map(str, targets.shown_labels(parsed.discovered))
    assert not any("s3cret" in text for text in shown)
    assert "s3cret" in parsed.url or "s3cret" not in repr(parsed)
    password = base64.b64decode((parsed.access.credential() or "").removeprefix("Basic "))
    assert "s3cret" in parsed.url or b"s3cret" in password


@pytest.mark.parametrize(
    "password", ["s3cret/x", "s3cret:x", "s3cret@", "s3,cret", "s3cret#", "x["]
)
def test_a_credential_in_a_wrong_entry_is_not_repeated(password: str) -> None:
    """A password with characters that break the URL is not quoted by the refusal."""
    with pytest.raises(BadTargets) as raised:
        targets.parse("DIS_SCRAPE_TARGETS", f"a=http://user:{password}@h:99999/", READING)
    assert "s3" not in str(raised.value)
    assert "cret" not in str(raised.value)


def test_targets_of_the_services() -> None:
    """Services whose URL is known are scraped at /metrics, the dashboard at nginx's stub_status."""
    parsed = scraper.targets_of(settings_of(das_url="http://h:1/", ui_url="http://h:2"))
    assert [t.url for t in parsed] == [
        *("http://h:1/metrics", "http://ubs:1/metrics", "http://h:2/stub_status")
    ]
    assert [t.is_stub_status for t in parsed] == [False, False, True]
    with pytest.raises(BadTargets, match="the URLs of the services, entry 1, data-api-service"):
        scraper.targets_of(settings_of(das_url="http://h:99999"))


@pytest.mark.parametrize("now", [0, 1, 4999, 5000, 5001, 123_456_789])
def test_rounds_are_aligned(now: int) -> None:
    """The next round is after now, at most one interval away, always at the same place in the
    interval.
    """
    due = next_round_ms(now, 5000, 1234)
    assert now < due <= now + 5000
    assert due % 5000 == 1234
    assert 0 <= target().offset_ms < 5000


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5s"), (0.25, "250ms"), (90, "1m30s"), (3600, "1h"), (0, "0s")]
)
def test_durations(seconds: float, text: str) -> None:
    """Durations are written as Prometheus writes them."""
    assert duration_text(seconds) == text
