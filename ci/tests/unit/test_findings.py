"""What the scanner found, judged."""

from datetime import date

import pytest

from ci import scan as findings
from ci.errors import Defect
from ci.scan import Finding, Waiver

TODAY = date(2026, 5, 1)
HIGH = Finding("CVE-2026-1", "HIGH", "openssl", "3.0.1", "3.0.2")
LOW = Finding("CVE-2026-2", "LOW", "tar", "1.35")


def answer(*listed: Finding) -> tuple[Finding, ...]:
    return listed


@pytest.fixture
def read(tmp_path):
    """The waivers of a file with that text."""

    def read(text: str):
        (tmp_path / "waivers.toml").write_text(text)
        return findings.waivers(tmp_path / "waivers.toml")

    return read


@pytest.mark.parametrize(
    ("severity", "fail_on", "expected"),
    [
        ("CRITICAL", "HIGH", True),
        ("HIGH", "HIGH", True),
        ("MEDIUM", "HIGH", False),
        ("UNDEFINED", "LOW", False),
        ("UNTRIAGED", "LOW", False),
        ("UNTRIAGED", "UNDEFINED", True),
        ("SOMETHING_NEW", "CRITICAL", True),
    ],
)
def test_a_severity_stops_from_the_chosen_one_up(severity, fail_on, expected):
    """Severities are ordered; enhanced scanning's word means the same; an unknown one stops."""
    assert findings.stops(severity, fail_on) is expected


@pytest.mark.parametrize(
    ("word", "has_results", "expected"),
    [
        ("COMPLETE", True, True),
        ("COMPLETE", False, True),
        ("ACTIVE", True, True),
        ("ACTIVE", False, False),
        ("IN_PROGRESS", False, False),
        ("PENDING", False, False),
        ("FAILED", False, False),
        ("SCAN_ELIGIBILITY_EXPIRED", False, False),
        ("UNSUPPORTED_IMAGE", False, False),
        ("A_WORD_OF_TOMORROW", True, False),
        ("", False, False),
    ],
)
def test_only_a_scan_that_ended_is_an_answer(word, has_results, expected):
    """No word but COMPLETE, and ACTIVE with results, counts as an answer."""
    assert findings.is_answer(word, has_results=has_results) is expected


def test_a_waiver_covers_its_package_until_its_last_day():
    """A waiver holds on its last day and not after, for its package or for all."""
    named = Waiver("CVE-2026-1", "why", TODAY, "openssl")
    for waiver, today, waived in (
        (named, TODAY, 1),
        (named, date(2026, 5, 2), 0),
        (Waiver("CVE-2026-1", "why", TODAY), TODAY, 1),
        (Waiver("CVE-2026-1", "why", TODAY, "zlib"), TODAY, 0),
    ):
        blocked, passed, _ = findings.judge({"das": answer(HIGH, LOW)}, "HIGH", [waiver], today)
        assert (len(blocked), len(passed)) == (1 - waived, waived)


def test_a_waiver_that_covers_nothing_is_told():
    """What was fixed need not be waived any longer."""
    waiver = Waiver("CVE-2020-9", "why", TODAY)
    assert findings.judge({"das": answer(LOW)}, "HIGH", [waiver], TODAY)[2] == [waiver]


def test_waivers_are_read_with_their_dates(read):
    """The format that ci/waivers.toml documents."""
    text = """
    [[waiver]]
    id = "CVE-2026-00000"
    package = "openssl"
    reason = "we do not parse certificates"
    expires = 2026-12-31
    """
    expected = Waiver(
        "CVE-2026-00000", "we do not parse certificates", date(2026, 12, 31), "openssl"
    )
    assert read(text) == [expected]
    assert not read("# none")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "waiver.0.expires is missing"),
        (
            'expires = "2026-12-31"',
            "waiver.0.expires is '2026-12-31': input should be a valid date",
        ),
        ("expires = 2026-12-31T00:00:00Z", "expires is datetime.* should be a valid date"),
        ("expires = 2026-12-31\nseverity = 'HIGH'", "waiver.0.severity: no such key"),
        ("expires = 2026-12-31\npackage = 3", "waiver.0.package is 3: input should be a valid str"),
        ("expires = 2026-12-31\npackage = ''", "waiver.0.package is ''"),
        ("expires = ", "Invalid"),
    ],
)
def test_a_waiver_without_an_end_is_a_defect(read, line, told):
    """Nothing is waived for ever or by a typing error."""
    with pytest.raises(Defect, match=told):
        read(f'[[waiver]]\nid = "CVE-1"\nreason = "why"\n{line}')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("waiver = 1", "waiver is 1: input should be a valid list"),
        ('waiver = ["x"]', "waiver.0 is 'x': input should be a dictionary"),
        ("[waiver]\nid = 'x'", "waiver is {'id': 'x'}"),
        ("[[waivers]]\nid = 'x'", "is 'waivers': input should be 'waiver'"),
        ("[[waiver]]\nid = '*'\nreason = 'x'\nexpires = 2099-01-01", "id is '\\*'"),
        ("[[waiver]]\nid = 'CVE-*'\nreason = 'x'\nexpires = 2099-01-01", "id is 'CVE-\\*'"),
        ("[[waiver]]\nid = 'CVE-1 '\nreason = 'x'\nexpires = 2099-01-01", "id is 'CVE-1 '"),
        ("[[waiver]]\nid = 'CVE-1'\nreason = ' '\nexpires = 2099-01-01", "reason is ' '"),
        ("[[waiver]]\nid = 'CVE-1'\nreason = 'x '\nexpires = 2099-01-01", "reason is 'x '"),
    ],
)
def test_a_list_of_something_else_is_a_defect(read, text, told):
    """A misspelt table would be no waiver, and a wildcard one for everything to come."""
    with pytest.raises(Defect, match=told):
        read(text)
