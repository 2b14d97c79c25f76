"""Which pytest runs a test run is made of, in which order, and what their reports come to: PURE."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from ci.errors import UsageError
from ci.model import Catalogue

CI, E2E = "ci", "e2e"
LINE_MAX = 160
ATTRIBUTES = ("errors", "failures", "skipped", "tests")
OUTCOMES = ("failed", "passed", "skipped", "xfailed", "error")
OK, TESTS_FAILED, INTERRUPTED, NO_TESTS = 0, 1, 2, 5  # pytest's exit codes


@dataclass(frozen=True)
class Suite:
    """One pytest run: in `folder`, with its own environment, over `targets`."""

    name: str
    folder: Path
    targets: tuple[str, ...]


def suites(catalogue: Catalogue, wanted: Sequence[str]) -> list[Suite]:
    """The suites of `wanted` (folders, codes, ci, e2e), or all, as they begin: units, then what
    takes longest.
    """
    root = catalogue.root
    names = {service.code: service.folder for service in catalogue.services}
    codes = {folder: code for code, folder in names.items()}
    folders = [names.get(name, name) for name in wanted] or [*names.values(), CI, E2E]
    if unknown := set(folders) - {*names.values(), CI, E2E}:
        listed = ", ".join([*names.values(), CI, E2E])
        raise UsageError(f"no tests called {', '.join(sorted(unknown))}; there are {listed}")
    units, rest = list[Suite](), list[Suite]()
    if E2E in folders:
        rest.append(Suite(E2E, root / "ci", ("tests/e2e",)))
    for kind, part in (("unit", units), ("containers", rest), ("integration", rest)):
        if CI in folders and any((root / "ci" / "tests" / kind).rglob("test_*.py")):
            part.append(Suite(f"ci {kind}", root / "ci", (f"tests/{kind}",)))
    for folder in (folder for folder in names.values() if folder in folders):
        here = root / folder
        of_units = here / "tests" / "unit"
        if any(of_units.rglob("test_*.py")):
            units.append(Suite(f"{codes[folder]} unit", here, ("tests/unit",)))
        if any(of_units not in path.parents for path in (here / "tests").rglob("test_*.py")):
            others = ("tests", "--ignore=tests/unit")
            rest.append(Suite(f"{codes[folder]} integration", here, others))
    chosen = [*units, *rest]
    empty = set(folders) - {suite.folder.name for suite in chosen} - {E2E}
    if empty:
        raise UsageError(f"no test file in {', '.join(sorted(empty))}")
    return chosen


@dataclass(frozen=True)
class Ended:
    """How the pytest of a suite ended. report: its `testsuites`; None when it wrote none."""

    suite: Suite
    code: int
    report: ET.Element | None
    last_lines: str


def read_report(path: Path) -> ET.Element | None:
    """The report of a pytest; None when it wrote none, or not to its end."""
    try:
        return ET.parse(path).getroot()  # noqa: S314 (our own pytest wrote it)
    except (OSError, ET.ParseError):
        return None


def outcome(case: ET.Element) -> str:
    """The word of `OUTCOMES` for a `testcase`."""
    for tag, word in (("error", "error"), ("failure", "failed"), ("skipped", "skipped")):
        part = case.find(tag)
        if part is not None:
            return "xfailed" if part.get("type") == "pytest.xfail" else word
    return "passed"


def oddity(ended: Ended, *, empty_is_fine: bool) -> str | None:
    """Why the end of a suite is a failure of its own; None when its report tells everything."""
    code, outcomes = ended.code, [outcome(case) for case in cases(ended.report)]
    failed = sum(word in {"failed", "error"} for word in outcomes)
    if code < 0:
        return f"its pytest was killed by signal {-code}"
    if ended.report is None:
        return f"its pytest exited with {code} before it had finished"
    if code == NO_TESTS or (code == OK and not outcomes):
        return None if empty_is_fine else "it collected no tests"
    if code not in ({TESTS_FAILED, INTERRUPTED} if failed else {OK}):  # interrupted: by collecting
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
        folder, name = ended.suite.folder.name, ended.suite.name
        for case in cases(ended.report):
            case.set("file", f"{folder}/{case.get('file', '')}".rstrip("/"))
            case.set("classname", f"{folder}.{case.get('classname', '')}".rstrip("."))
        root.extend([] if ended.report is None else ended.report.iter("testsuite"))
        if why := oddity(ended, empty_is_fine=empty_is_fine):
            counts = {"errors": "0", "failures": "1", "skipped": "0", "tests": "1"}
            part = ET.SubElement(root, "testsuite", {"name": name, **counts})
            names = {"file": folder, "classname": folder, "name": name.replace(" ", "-")}
            failure = ET.SubElement(ET.SubElement(part, "testcase", names), "failure")
            failure.set("message", f"{name}: {why}")
            failure.text = ended.last_lines
    for attribute in ATTRIBUTES:
        root.set(attribute, str(sum(int(part.get(attribute, 0)) for part in root)))
    return root


def failures(report: ET.Element) -> list[str]:
    """Each test that failed, and the first line of why."""
    lines = []
    for case in cases(report):
        for trouble in (*case.iter("failure"), *case.iter("error")):
            reason = trouble.get("message", "").partition("\n")[0]
            node = f"{case.get('file')}::{case.get('name')}"
            lines.append(f"{outcome(case).upper()} {node} - {reason}"[:LINE_MAX])
    return lines


def closing_line(outcomes: Sequence[str], seconds: float) -> str:
    """`===== 3 failed, 2646 passed in 734.00s (0:12:14) =====`, as pytest writes it."""
    count = Counter(outcomes)
    words = [f"{count[word]} {word}" for word in OUTCOMES if count[word]]
    minutes, rest = divmod(int(seconds), 60)
    clock = f" ({minutes // 60}:{minutes % 60:02}:{rest:02})" if minutes else ""
    text = f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s{clock} "
    return text.center(80, "=")
