"""Twelve bumps at once: nothing is lost, nothing is overwritten by something older."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import delivery_lab
from delivery_lab import Means

TOGETHER = 12


def at_once(lab, calls):
    """The outcomes of `calls`, all of which push their first commit at the same moment.

    calls: functions that take the means of a handshake.
    """
    line = threading.Barrier(len(calls))

    def started(call):
        first = []

        def at(step):
            if step == "committed" and not first:
                first.append(step)
                line.wait(600)

        try:
            return call(Means(render=lambda *_: (), at=at))
        except BaseException:
            line.abort()  # the others need not wait for this one
            raise

    began = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(started, call) for call in calls]
    for error in (each.exception() for each in running):
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error
    outcomes = [each.result() for each in running]
    attempts = [outcome.facts["attempts"] for outcome in outcomes]
    races = [race for outcome in outcomes for race in outcome.facts["races"]]
    kinds = {each: races.count(each) for each in races}
    print(f"{time.monotonic() - began:.1f} s; attempts {sorted(attempts)}; {kinds}")
    return outcomes


def test_twelve_bumps_of_twelve_keys_in_one_file_lose_nothing(tmp_path):
    """Each ends as one commit of its own, in a line; the file holds all twelve."""
    codes = [f"s{number:02}" for number in range(TOGETHER)]
    rest = delivery_lab.REST.replace(
        'file = "environments/{environment}/{folder}.yaml", key = "image"',
        'file = "{environment}.yaml", key = "{code}.image"',
    )
    content = "".join(
        f"{code}:\n  image:\n    repository: registry.example/cloudopshub-{code}\n    tag: old\n"
        for code in codes
    )
    files = {"staging.yaml": content, "production.yaml": content}
    with delivery_lab.running(tmp_path, commits=2, codes=codes, rest=rest, files=files) as lab:
        context = lab.context()

        def call(code):
            return lambda means: lab.bump(1, codes=[code], context=context, means=means)

        outcomes = at_once(lab, [call(code) for code in codes])
        assert {outcome.status for outcome in outcomes} == {"bumped"}
        assert len(lab.log()) == 1 + TOGETHER
        assert not delivery_lab.git(lab.bare, "rev-list", "--merges", "main")
        written = delivery_lab.git(lab.bare, "show", "main:staging.yaml")
        assert written.count(lab.release(1).tag) == TOGETHER
        assert "old" not in written


def test_twelve_builds_of_the_same_services_end_with_the_newest(tmp_path):
    """Whoever pushes last, older commits give way; the history only ever moves forward."""
    with delivery_lab.running(tmp_path, commits=TOGETHER) as lab:
        context = lab.context()

        def call(number):
            return lambda means: lab.bump(number, context=context, means=means)

        outcomes = at_once(lab, [call(number) for number in range(TOGETHER)])
        assert {outcome.status for outcome in outcomes} <= {"bumped", "superseded"}
        assert outcomes[-1].status == "bumped"
        for code in delivery_lab.CODES:
            assert lab.release(TOGETHER - 1).images[code].pin in lab.file(code)
        tags = [line for line in lab.log("%(trailers:key=Source-Commit,valueonly)") if line]
        order = [lab.commits.index(commit) for commit in tags]
        assert order == sorted(order, reverse=True)
        assert len(set(order)) == len(order)
