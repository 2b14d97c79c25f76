"""One JUnit file and one closing line out of the suites' own: pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from ci.test.suites import Suite

SLOWEST = 10
ATTRIBUTES = ("errors", "failures", "skipped", "tests")
OUTCOMES = ("failed", "passed", "skipped", "xfailed", "error")
OK, TESTS_FAILED, INTERRUPTED, NO_TESTS = 0, 1, 2, 5  # pytest's exit codes


@dataclass(frozen=True)
class Ended:
    """How the pytest of a suite ended. report: its `testsuites`; None when it wrote none."""

    suite: Suite
    code: int
    report: ET.Element | None
    last_lines: str


def outcome(case: ET.Element) -> str:
    """The word of `OUTCOMES` for a `testcase`."""
    if case.find("error") is not None:
        return "error"
    if case.find("failure") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    return "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"


def oddity(ended: Ended, *, empty_is_fine: bool) -> str | None:
    """Why the end of a suite is a failure of its own; None when its report tells everything."""
    outcomes = [outcome(case) for case in cases(ended.report)]
    failed = sum(word in {"failed", "error"} for word in outcomes)
    code = ended.code
    if code < 0:
        return f"its pytest was killed by signal {-code}"
    if ended.report is None:
        return f"its pytest exited with {code} before it had finished"
    is_empty = code == NO_TESTS or (code == OK and not outcomes)
    if (is_empty and empty_is_fine) or (code == INTERRUPTED and failed):
        return None  # the latter: errors while collecting, which the report has
    if is_empty:
        return "it collected no tests"
    if code != (TESTS_FAILED if failed else OK):
        return f"its pytest exited with {code}, and {failed} failures were reported"
    return None


def cases(report: ET.Element | None) -> Iterator[ET.Element]:
    """The test cases of a report; none of None."""
    return iter(()) if report is None else report.iter("testcase")


def merged(all_ended: Iterable[Ended], *, empty_is_fine: bool) -> ET.Element:
    """One `testsuites` of all; what is odd about a suite is a failed case of it.

    Class names and files begin with the suite's folder, as seen from the repository's root.
    """
    root = ET.Element("testsuites")
    for ended in all_ended:
        folder = ended.suite.folder.name
        parts = [] if ended.report is None else list(ended.report.iter("testsuite"))
        for case in cases(ended.report):
            case.set("file", f"{folder}/{case.get('file', '')}".rstrip("/"))
            case.set("classname", f"{folder}.{case.get('classname', '')}".rstrip("."))
        if why := oddity(ended, empty_is_fine=empty_is_fine):
            counts = {"errors": "0", "failures": "1", "skipped": "0", "tests": "1"}
            parts.append(ET.Element("testsuite", {"name": ended.suite.name, **counts}))
            name = ended.suite.name.replace(" ", "-")
            case = ET.SubElement(parts[-1], "testcase", {"classname": folder, "name": name})
            case.set("file", folder)
            message = f"{ended.suite.name}: {why}"
            ET.SubElement(case, "failure", {"message": message}).text = ended.last_lines
        root.extend(parts)
    for name in ATTRIBUTES:
        root.set(name, str(sum(int(part.get(name, 0)) for part in root)))
    return root


def closing_lines(report: ET.Element, seconds: float) -> list[str]:
    """The slowest tests, what failed and why, and pytest's closing line over all of `report`."""
    everything = list(cases(report))
    slowest = sorted(everything, key=lambda case: -float(case.get("time", 0)))[:SLOWEST]
    lines = [f"{float(case.get('time', 0)):8.2f} s  {_node(case)}" for case in slowest]
    for case in everything:
        for trouble in (*case.iter("failure"), *case.iter("error")):
            reason = trouble.get("message", "").split("\n", 1)[0]
            lines.append(f"{outcome(case).upper()} {_node(case)} - {reason}")
    return [*lines, closing_line([outcome(case) for case in everything], seconds)]


def closing_line(outcomes: Sequence[str], seconds: float) -> str:
    """`===== 3 failed, 2646 passed in 734.00s (0:12:14) =====`, as pytest writes it."""
    count = Counter(outcomes)
    words = [f"{count[word]} {word}" for word in OUTCOMES if count[word]]
    minutes, rest = divmod(int(seconds), 60)
    clock = f" ({minutes // 60}:{minutes % 60:02}:{rest:02})" if minutes else ""
    text = f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s{clock} "
    return text.center(80, "=")


def _node(case: ET.Element) -> str:
    return f"{case.get('file')}::{case.get('name')}"
