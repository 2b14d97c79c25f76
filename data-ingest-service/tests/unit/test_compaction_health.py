"""/ready says when compaction does not get on, without paths and tenants."""

import pytest

from data_ingest.background.compaction_health import (
    ROUND_S_MAX,
    CompactionBehind,
    CompactionHealth,
    Round,
)

QUIET = Round(is_behind=False, failures=(), oldest_batch_s=30.0, quarantined=2)


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


async def test_a_round_without_failure_is_well() -> None:
    """Before the first round, and after one in which each run and batch was in time."""
    health = CompactionHealth(960.0)
    assert await health.check() == "no round has ended yet"
    health.ended(QUIET)
    assert "2 blocks are quarantined" in await health.check()


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (Round(False, ["OSError", "BadPayload", "OSError"], 1.0, 0), "3 runs .* BadPayload, OSE"),
        (Round(True, (), 961.0, 0), r"age_s=961, limit_s=960"),
    ],
    ids=["failures", "late"],
)
async def test_what_is_not_compacted_is_told(last: Round, words: str) -> None:
    """Failed runs by the error's name, and a batch that waits too long; a good round ends it."""
    health = CompactionHealth(960.0)
    health.ended(last)
    with pytest.raises(CompactionBehind, match=words):
        await health.check()
    health.ended(QUIET)
    assert await health.check()


async def test_a_round_that_never_ends_is_told() -> None:
    """Failed as a whole, or silent for longer than a round may take."""
    now = Now()
    health = CompactionHealth(960.0, now)
    with pytest.raises(ValueError, match="secret"), health.noting_failure():
        raise ValueError("/a/secret/path")
    with pytest.raises(CompactionBehind, match=r"failed: ValueError$"):
        await health.check()
    health.ended(QUIET)
    assert await health.check()
    now.at_s += ROUND_S_MAX + 1
    with pytest.raises(CompactionBehind, match="no round has ended for 1801 s"):
        await health.check()
