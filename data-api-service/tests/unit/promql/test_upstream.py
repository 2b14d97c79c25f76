"""Prometheus's own scripts, where they are kept beside the checkout."""

from collections import defaultdict
from pathlib import Path

import pytest

from data_api.promqltest.outcomes import Outcome, run_script

KNOWN = Path(__file__).resolve().parents[2] / "golden" / "promql" / "unsupported_upstream.txt"


def known_unsupported() -> set[tuple[str, int]]:
    """The evals (script, line) that are known not to pass; this list may only shrink."""
    known = set()
    for line in KNOWN.read_text().splitlines():
        if line and not line.startswith("#"):
            script, _, numbers = line.partition(":")
            known.update((script, int(number)) for number in numbers.split())
    return known


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Of Prometheus's own scripts, kept beside the checkout where they are; else skips."""
    root = Path(__file__).resolve().parents[4]
    scripts = sorted((root / ".." / "shared" / "promql").resolve().glob("*.test"))
    if not scripts:
        pytest.skip("Prometheus's own test scripts are not beside this checkout (shared/promql)")
    return [outcome for path in scripts for outcome in run_script(path)]


def test_core_evals_all_pass(outcomes):
    """Every eval of floats and released syntax gives Prometheus's answer, instant and as range."""
    failed = [o for o in outcomes if o.kind == "core" and o.problem]
    assert not failed, "\n".join(f"{o.file}:{o.line} {o.query}: {o.problem}" for o in failed)
    assert sum(o.kind == "core" for o in outcomes) >= 549


def test_unsupported_evals_are_the_known_ones(outcomes):
    """What does not pass is native or experimental and on the list; what passes is not on it."""
    failing = {(o.file, o.line) for o in outcomes if o.problem}
    known = known_unsupported()
    assert failing - known == set(), "these passed before, or are new"
    assert known - failing == set(), "these pass now: take them off the list"


def test_figures(outcomes, record_property):
    """The figures of each script, kept with the test report."""
    figures: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for outcome in outcomes:
        figures[f"{outcome.file} {outcome.kind}"][0] += outcome.problem is None
        figures[f"{outcome.file} {outcome.kind}"][1] += 1
    for name, (passed, total) in sorted(figures.items()):
        record_property(name, f"{passed}/{total}")
    assert figures
