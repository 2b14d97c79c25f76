"""The language, as our own scripts tell it, with a server's default options."""

from pathlib import Path

import pytest

from data_api import promql
from data_api.promqltest.outcomes import run_script

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "promql"
SCRIPTS = sorted(GOLDEN.glob("*.test"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path):
    """Every eval of the script gives what it expects, alone and as a step of a range query."""
    outcomes = run_script(path, promql.Options())
    failed = [f"{o.line} {o.query}: {o.problem}" for o in outcomes if o.problem]
    assert outcomes
    assert not failed, "\n".join(failed)
