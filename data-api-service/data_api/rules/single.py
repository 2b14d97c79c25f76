"""One rule by itself, as its mapping stands in a rule file."""

import textwrap
from typing import Final, TypeVar

from data_api.errors import BadRequest
from data_api.rules import parsing, yamls
from data_api.rules.model import AlertingRule, RecordingRule

R = TypeVar("R", AlertingRule, RecordingRule)

CHARS_MAX: Final = 65_536
_HEAD: Final = "name: one\nrules:\n-\n"
_INDENT: Final = "  "


def read_rule(text: str, kind: type[R]) -> R:
    """The one rule of a YAML text, of this kind. Raises BadRequest, or InvalidRules with places of
    this text.
    """
    if len(text) > CHARS_MAX:
        raise BadRequest(detail="the rule is too long", characters=len(text), limit=CHARS_MAX)
    try:
        group = parsing.parse(_HEAD + textwrap.indent(text, _INDENT), "")[0][0]
    except parsing.InvalidRules as error:
        raise parsing.InvalidRules(faults=tuple(map(_moved, error.facts["faults"]))) from None
    if len(group.rules) != 1:
        raise BadRequest(detail="the text must be one rule")
    rule = group.rules[0]
    if not isinstance(rule, kind):
        name = "an alerting" if kind is AlertingRule else "a recording"
        raise BadRequest(detail=f"only {name} rule can be used here")
    return rule


def _moved(fault: yamls.Fault) -> parsing.Fault:
    line, column = max(fault.line - _HEAD.count("\n"), 1), max(fault.column - len(_INDENT), 1)
    return yamls.Fault(line, column, fault.text.removeprefix('group "one", rule 1, '))
