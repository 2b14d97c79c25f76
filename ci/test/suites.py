"""Which pytest runs a test run is made of, and in which order: pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci.errors import UsageError
from ci.model import Catalogue

CI, E2E = "ci", "e2e"


@dataclass(frozen=True)
class Suite:
    """One pytest run: in `folder`, with its own environment, over `targets`.

    Suites of one stage may run at the same time; a later stage waits for the earlier ones.
    """

    name: str
    folder: Path
    targets: tuple[str, ...]
    stage: int


def widest(suites: Sequence[Suite]) -> int:
    """How many suites the stage with the most of them has."""
    return max(Counter(suite.stage for suite in suites).values(), default=0)


def suites(catalogue: Catalogue, wanted: Sequence[str]) -> list[Suite]:
    """The suites of `wanted` (folders, codes, ci, e2e), or all: units, the rest, end to end."""
    root = catalogue.root
    names = {service.code: service.folder for service in catalogue.services}
    codes = {folder: code for code, folder in names.items()}
    folders = [names.get(name, name) for name in wanted] or [*names.values(), CI, E2E]
    if unknown := set(folders) - {*names.values(), CI, E2E}:
        listed = ", ".join([*names.values(), CI, E2E])
        raise UsageError(f"no tests called {', '.join(sorted(unknown))}; there are {listed}")
    chosen = []
    for folder in (folder for folder in names.values() if folder in folders):
        here = root / folder
        units = here / "tests" / "unit"
        if any(units.rglob("test_*.py")):
            chosen.append(Suite(f"{codes[folder]} unit", here, ("tests/unit",), 1))
        rest = ("tests", "--ignore=tests/unit")
        if any(units not in path.parents for path in (here / "tests").rglob("test_*.py")):
            chosen.append(Suite(f"{codes[folder]} integration", here, rest, 2))
    if CI in folders:
        chosen += [
            Suite(f"ci {kind}", root / "ci", (f"tests/{kind}",), stage)
            for kind, stage in (("unit", 1), ("containers", 2), ("integration", 2))
            if any((root / "ci" / "tests" / kind).rglob("test_*.py"))
        ]
    if E2E in folders:
        chosen.append(Suite(E2E, root / "ci", ("tests/e2e",), 3))
    empty = set(folders) - {suite.folder.name for suite in chosen} - {E2E}
    if empty:
        raise UsageError(f"no test file in {', '.join(sorted(empty))}")
    return sorted(chosen, key=lambda suite: suite.stage)
