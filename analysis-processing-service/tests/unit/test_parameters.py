"""Parameters are checked where they are asked for, and say which bound was broken."""

import pytest

from analysis_processing.analyses import ANALYSES, resolved_params
from analysis_processing.analyses.parameters import Parameter, season_steps
from analysis_processing.errors import InvalidJob, UnknownKind

MINUTE = 60_000


def test_defaults_stand_in_for_what_is_not_given():
    """Every parameter has a value, and the defaults are within their own bounds."""
    params = resolved_params("anomaly", {}, MINUTE)
    assert params == {p.name: p.default for p in ANALYSES["anomaly"].parameters}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sensitivity": 1.5}, "number from 0 to 1"),
        ({"sensitivity": "high"}, "'high'"),
        ({"sensitivity": True}, "'True'"),
        ({"sensitivity": float("nan")}, "'nan'"),
        ({"warm_up": 15}, "integer from 16 to 10000"),
        ({"warm_up": 20.5}, "integer"),
        ({"direction": "sideways"}, "both or up or down"),
        ({"direction": ["up"]}, "both or up or down"),
        ({"season": "90s"}, "whole multiple of the step"),
        ({"season": "3m"}, "4 to 20160 steps"),
        ({"season": "fortnight"}, "duration"),
        ({"season": 5}, "duration"),
        ({"write_back": "yes"}, "true or false"),
        ({"colour": "red"}, "params.colour is unknown"),
    ],
)
def test_a_bad_parameter_is_refused_with_its_bound(given, words):
    """The message names the parameter, the value and what would have been right."""
    with pytest.raises(InvalidJob, match=words):
        resolved_params("anomaly", given, MINUTE)


def test_an_unknown_kind_names_the_known_ones():
    """What can be run is said to whoever asks for something else."""
    with pytest.raises(UnknownKind, match="anomaly"):
        resolved_params("astrology", {}, MINUTE)


@pytest.mark.parametrize(
    ("season", "step_ms", "steps"),
    [
        ("none", MINUTE, ()),
        ("auto", MINUTE, (60, 1440, 10_080)),
        ("auto", 15_000, (240, 5760)),
        ("auto", 5 * MINUTE, (12, 288, 2016)),
        ("auto", 60 * MINUTE, (24, 168)),
        ("auto", 7 * MINUTE, (1440,)),
        ("12h", 60 * MINUTE, (12,)),
    ],
)
def test_seasons_in_steps(season, step_ms, steps):
    """Auto keeps the seasons that are a whole and sensible number of steps."""
    assert season_steps(season, step_ms) == steps


REACH = Parameter("reach", "duration", "1h", "How far.", minimum=60_000, maximum=604_800_000)
AT = Parameter("at", "time", None, "When; the end of the range by default.")
NOTE = Parameter("note", "text", "", "What for.", maximum=10)
BY = Parameter("by", "labels", [], "What series are grouped by.")


@pytest.mark.parametrize(
    ("parameter", "value", "given_to_run"),
    [
        (REACH, "6h", 21_600_000),
        (REACH, "1w", 604_800_000),
        (REACH, 90_000, 90_000),
        (AT, None, None),
        (AT, 1_760_000_000_000, 1_760_000_000_000),
        (NOTE, "ten letter", "ten letter"),
        (BY, ["zone", "host"], ["zone", "host"]),
    ],
    ids=str,
)
def test_what_run_gets(parameter, value, given_to_run):
    """Durations become ms, once: what a job shows of its parameters can be asked again."""
    assert parameter.check(value, MINUTE) == given_to_run
    assert parameter.check(given_to_run, MINUTE) == given_to_run
    parameter.check(parameter.default, MINUTE)


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        (REACH, "59s", "from 1m to 1w"),
        (REACH, "2w", "from 1m to 1w"),
        (REACH, "6 h", "such as 6h"),
        (REACH, None, "such as 6h"),
        (REACH, True, "such as 6h"),
        (AT, -1, "ms since the epoch"),
        (AT, 2**63, "ms since the epoch"),
        (AT, 1.5, "ms since the epoch"),
        (AT, True, "ms since the epoch"),
        (NOTE, "eleven char", "at most 10 characters"),
        (NOTE, "a\0", "at most 10 characters"),
        (NOTE, "\ud800", "at most 10 characters"),
        (NOTE, 5, "at most 10 characters"),
        (BY, "zone", "label names"),
        (BY, ["zone", "zone"], "different label names"),
        (BY, [""], "label names"),
        (BY, [["zone"]], "label names"),
        (BY, [str(n) for n in range(17)], "at most 16"),
    ],
    ids=ascii,
)
def test_the_bounds_of_other_types(parameter, value, words):
    """What is none of its type, or beyond a bound, is refused with that bound."""
    with pytest.raises(InvalidJob, match=words):
        parameter.check(value, MINUTE)


def test_a_form_reads_bounds_where_there_are_some():
    """A parameter shows its type and those of its bounds and choices that it has."""
    assert NOTE.as_json() == {
        "name": "note",
        "type": "text",
        "default": "",
        "description": "What for.",
        "maximum": 10,
    }
    assert REACH.as_json()["minimum"] == 60_000
    assert AT.as_json().keys() == {"name", "type", "default", "description"}


@pytest.mark.parametrize(
    ("kind", "given", "step_ms", "same"),
    [
        ("forecast", {"horizon": "6h"}, MINUTE, {"horizon": 21_600_000}),
        ("anomaly", {"season": "24h"}, MINUTE, {"season": "1d"}),
        ("anomaly", {"season": "1037000s"}, 61_000, {"season": "1037000000ms"}),
        ("anomaly", {"sensitivity": 0}, MINUTE, {"sensitivity": -0.0}),
    ],
)
def test_one_value_has_one_spelling(kind, given, step_ms, same):
    """So that the same question is the same job, and what `run` gets can be read again."""
    resolved = resolved_params(kind, given, step_ms)
    assert repr(resolved) == repr(resolved_params(kind, same, step_ms))
    assert resolved_params(kind, resolved, step_ms) == resolved
