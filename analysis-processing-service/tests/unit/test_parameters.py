"""Parameters are checked where they are asked for, and say which bound was broken."""

import pytest

from analysis_processing.analyses import ANALYSES, resolved_params
from analysis_processing.analyses.parameters import season_steps
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
