"""One rule by itself, as its mapping stands in a rule file."""

import textwrap
from typing import Final

from data_api.errors import BadRequest
from data_api.rules import parsing
from data_api.rules.model import Rule

CHARS_MAX: Final = 65_536
_HEAD: Final = "name: one\nrules:\n-\n"
_INDENT: Final = "  "


def read_rule(text: str) -> Rule:
    """The one rule of a YAML text. Raises InvalidRules, with places of this text."""
    if len(text) > CHARS_MAX:
        raise BadRequest(detail="the rule is too long", characters=len(text), limit=CHARS_MAX)
    try:
        group = parsing.parse_group(_HEAD + textwrap.indent(text, _INDENT), "")
    except parsing.InvalidRules as error:
        raise parsing.InvalidRules(faults=tuple(map(_moved, error.facts["faults"]))) from None
    if len(group.rules) != 1:
        raise BadRequest(detail="the text must be one rule")
    return group.rules[0]


def _moved(fault: parsing.Fault) -> parsing.Fault:
    line, column = max(fault.line - _HEAD.count("\n"), 1), max(fault.column - len(_INDENT), 1)
    return parsing.Fault(line, column, fault.text.removeprefix('group "one", rule 1, '))
