"""Progress people can watch."""

from itertools import pairwise

import anyio
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.jobs.claims import back_off_s
from analysis_processing.jobs.progress import Reporter

steps = st.lists(st.tuples(st.floats(0, 0.9), st.integers(0, 3)), max_size=40)


@given(steps=steps)
def test_at_most_once_a_second_and_never_back(steps):
    """However often work is reported, writes are a second apart, ascending, within the total."""
    now_s, written = [100.0], []

    async def write(progress):
        written.append((now_s[0], progress))

    async def work():
        reporter = Reporter(write, lambda: now_s[0])
        await reporter.step("reading")
        reporter.start(total=30, done=5)
        for pause_s, parts in steps:
            now_s[0] += pause_s
            await reporter.step("working", parts)

    anyio.run(work)
    times = [at for at, _ in written]
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    done = [progress.done for _, progress in written]
    assert done == sorted(done)
    assert all(0 <= one <= progress.total for one, (_, progress) in zip(done, written, strict=True))


def test_time_left_follows_the_speed_so_far():
    """A quarter of what was left took 10 s: 30 s more; parts of an earlier attempt do not count."""
    now_s, written = [0.0], []

    async def write(progress):
        written.append(progress)

    async def work():
        reporter = Reporter(write, lambda: now_s[0])
        await reporter.step("reading")
        now_s[0] = 100.0
        reporter.start(total=500, done=100)
        now_s[0] = 110.0
        await reporter.step("working", parts=100)

    anyio.run(work)
    assert [progress.eta_s for progress in written] == [None, 30]


def test_back_off_doubles_to_a_bound():
    """2, 4, 8 … 60 s."""
    assert [back_off_s(attempts) for attempts in (1, 2, 3, 6, 99)] == [2, 4, 8, 60, 60]
