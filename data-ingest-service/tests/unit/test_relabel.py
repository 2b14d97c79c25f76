"""Laws of relabelling, rule by rule. The expected results are Prometheus' own."""

from typing import Any

import pytest

from data_ingest.patterns import compiled
from data_ingest.scrape import relabel
from data_ingest.scrape.relabel import Rule

BEFORE = {"a": "foo", "b": "bar", "c": "baz", "n.m": "x\ny", "__tmp": "t"}
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, str | None] | None]] = {
    "joined": (
        [{"source_labels": ("a", "b"), "regex": "f(.*);(.*)r", "target_label": "d",
          "replacement": "ch${1}-$2"}],
        {"d": "choo-ba"},
    ),
    "separator": (
        [{"source_labels": ("a", "none", "b"), "separator": "/", "target_label": "d"}],
        {"d": "foo//bar"},
    ),
    "whole_value_only": ([{"source_labels": ("a",), "regex": "o", "target_label": "d"}], {}),
    "alternatives_are_whole": (
        [{"source_labels": ("a",), "regex": "f|foo", "target_label": "d", "replacement": "y"}],
        {"d": "y"},
    ),
    "newline": ([{"source_labels": ("n.m",), "regex": "x.y", "target_label": "d",
                  "replacement": "y"}], {"d": "y"}),
    "no_match_changes_nothing": (
        [{"source_labels": ("a",), "regex": "x", "target_label": "b", "replacement": "y"}],
        {},
    ),
    "empty_replacement_removes": (
        [{"source_labels": ("a",), "target_label": "b", "replacement": ""}],
        {"b": None},
    ),
    "constant": ([{"target_label": "d", "replacement": "always"}], {"d": "always"}),
    "computed_target": (
        [{"source_labels": ("a",), "regex": "(f)(.*)", "target_label": "d_$2",
          "replacement": "$1"}],
        {"d_oo": "f"},
    ),
    "computed_target_empty": (
        [{"source_labels": ("a",), "regex": "foo(x)?", "target_label": "$1", "replacement": "y"}],
        {},
    ),
    "references": (
        [{"source_labels": ("a",), "regex": "(?P<first>f)(o+)", "target_label": "d",
          "replacement": "$$1 ${first} ${2}x $2x $9 $01 $ ${"}],
        {"d": "$1 f oox    $ ${"},
    ),
    "keep": ([{"source_labels": ("a",), "regex": "f.*", "action": "keep"}], {}),
    "keep_not": ([{"source_labels": ("a",), "regex": "x", "action": "keep"}], None),
    "drop": ([{"source_labels": ("a",), "regex": "foo", "action": "drop"}], None),
    "drop_not": ([{"source_labels": ("a",), "regex": "fo", "action": "drop"}], {}),
    "drop_missing": ([{"source_labels": ("none",), "regex": "", "action": "drop"}], None),
    "keepequal": (
        [{"target_label": "d", "replacement": "foo"},
         {"source_labels": ("a",), "target_label": "d", "action": "keepequal"}],
        {"d": "foo"},
    ),
    "keepequal_not": (
        [{"source_labels": ("a",), "target_label": "b", "action": "keepequal"}], None
    ),
    "dropequal": (
        [{"source_labels": ("none",), "target_label": "no", "action": "dropequal"}], None
    ),
    "dropequal_not": ([{"source_labels": ("a",), "target_label": "b", "action": "dropequal"}], {}),
    "hashmod": (
        [{"source_labels": ("c",), "target_label": "d", "modulus": 1000, "action": "hashmod"}],
        {"d": "976"},
    ),
    "hashmod_large": (
        [{"source_labels": ("a", "b"), "target_label": "d", "modulus": 2**63, "action": "hashmod"}],
        {"d": "6750267941334490942"},
    ),
    "labelmap": (
        [{"regex": "(.)\\.(.)", "replacement": "map_${2}_$1", "action": "labelmap"}],
        {"map_m_n": "x\ny"},
    ),
    "labelmap_default": ([{"regex": "__(tmp)", "action": "labelmap"}], {"tmp": "t"}),
    "labeldrop": ([{"regex": "a|__.*", "action": "labeldrop"}], {"a": None, "__tmp": None}),
    "labelkeep": (
        [{"regex": "a|b", "action": "labelkeep"}],
        {"c": None, "n.m": None, "__tmp": None},
    ),
    "lowercase": (
        [{"target_label": "d", "replacement": "FÖÖ"},
         {"source_labels": ("d",), "target_label": "d", "action": "lowercase"}],
        {"d": "föö"},
    ),
    "uppercase": (
        [{"source_labels": ("a", "b"), "target_label": "d", "action": "uppercase"}],
        {"d": "FOO;BAR"},
    ),
    "one_after_the_other": (
        [{"source_labels": ("a",), "target_label": "d"},
         {"regex": "a", "action": "labeldrop"},
         {"source_labels": ("a", "d"), "target_label": "e"}],
        {"a": None, "d": "foo", "e": ";foo"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rules(case: str) -> None:
    """The labels after the rules; only those that changed are in the table."""
    rules, changes = CASES[case]
    after = relabel.relabel(BEFORE, [Rule(**rule) for rule in rules])
    if changes is None:
        assert after is None
        return
    changed = BEFORE | {name: value or "" for name, value in changes.items()}
    assert after == {name: value for name, value in changed.items() if value}


def test_a_pattern_is_refused_or_fast() -> None:
    """What RE2 does not know is refused; a pattern that others backtrack over ends at once."""
    for pattern in ("(", r"(a)\1", "a(?=b)"):
        with pytest.raises(ValueError, match="not a pattern"):
            compiled(pattern)
    assert not compiled("(a|aa)+").fullmatch("a" * 100_000 + "b")
