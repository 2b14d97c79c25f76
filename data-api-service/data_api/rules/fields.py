"""What a field of a rule file may be, and what it is then; the faults have Prometheus' words."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo

from data_api import gotemplate
from data_api.gotemplate import durations
from data_api.model import METRIC_NAME
from data_api.promql import ParseError
from data_api.promql.printer import format_duration
from data_api.questions import parse as parse_query

NAME_CHARACTERS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one tenant may have."""

    groups: int = 400
    rules: int = 200  # of one group
    text_bytes: int = 4 * 1024 * 1024  # of all
    interval_ms_min: int = 5_000
    interval_ms: int = 60_000  # of a group that says none


def _whole(text: Any) -> int:
    digits = str(text)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError(f"limit must be a whole number, not {digits[:40]!r}")
    return int(digits)


def _bounds(info: ValidationInfo) -> Bounds:
    assert isinstance(info.context, Bounds)
    return info.context


def _interval(interval_ms: int, info: ValidationInfo) -> int:
    shortest_ms = _bounds(info).interval_ms_min
    if 0 < interval_ms < shortest_ms:
        raise ValueError(f"the shortest interval is {format_duration(shortest_ms)}")
    return interval_ms


def _named(name: str) -> str:
    if not name:
        raise ValueError("Groupname must not be empty")
    if len(name) > NAME_CHARACTERS_MAX or "\0" in name:
        raise ValueError("Groupname is too long, or has a NUL")
    return name


def _expression(text: str) -> str:
    if not text:
        raise ValueError("field 'expr' must be set in rule")
    try:
        parse_query(text)
    except ParseError as exc:
        raise ValueError(f"could not parse expression: {exc.text}") from None
    return text


def _texts(texts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Labels or annotations: names to texts, which are templates where an alert has them."""
    what, alert = str(info.field_name).removesuffix("s"), info.data.get("alert", "")
    for name, text in texts.items():
        is_reserved = what == "label" and name == METRIC_NAME
        if not name or len(name) > NAME_CHARACTERS_MAX or is_reserved:
            raise ValueError(f"invalid {what} name: {name[:80]!r}")
        try:
            gotemplate.check_alert(text if alert else "", alert)
        except gotemplate.TemplateError as exc:
            raise ValueError(f'{what} "{name}": {exc.describe()}') from None
    return texts


def _record(name: str) -> str:
    if "{" in name or "}" in name:
        raise ValueError(
            f"braces present in the recording rule name; should it be in expr?: {name[:80]}"
        )
    return name


def _at_most(items: Any, info: ValidationInfo) -> Any:
    limit = getattr(_bounds(info), str(info.field_name))
    if isinstance(items, list) and len(items) > limit:
        raise ValueError(f"{len(items)} {info.field_name}, the limit is {limit}")
    return items


def mapping(what: str, given: Any) -> dict[str, Any]:
    """The fields that have a value; the others are as if they were not there."""
    if not isinstance(given, dict | None):
        raise ValueError(f"{what} must be a mapping")  # noqa: TRY004 - for pydantic
    return {name: value for name, value in (given or {}).items() if value is not None}


def rule(given: Any) -> dict[str, Any]:
    """The fields of one rule, which is of one kind."""
    names = mapping("a rule", given)
    record, alert = names.get("record"), names.get("alert")
    if bool(record) == bool(alert):
        which, word = ("only one", "and") if record else ("one", "or")
        raise ValueError(f"{which} of 'record' {word} 'alert' must be set")
    names.pop("alert" if record else "record", None)  # which is empty
    return {"expr": ""} | names


def group(given: Any) -> dict[str, Any]:
    """The fields of one group, whose namespace the text does not say."""
    names = mapping("a rule group", given)
    if "namespace" in names:
        raise ValueError("field namespace not found in a rule group")
    return {"name": "", "namespace": ""} | names


Duration = Annotated[
    int,
    BeforeValidator(lambda text: durations.parse(str(text))),
    PlainSerializer(format_duration),
]
Interval = Annotated[Duration, AfterValidator(_interval)]
Limit = Annotated[int, BeforeValidator(_whole)]
Name = Annotated[str, AfterValidator(_named)]
Record = Annotated[str, AfterValidator(_record)]
Expression = Annotated[str, AfterValidator(_expression)]
Text = Annotated[str, BeforeValidator(lambda text: "" if text is None else text)]
Texts = Annotated[dict[str, Text], AfterValidator(_texts)]
AtMost = BeforeValidator(_at_most)
