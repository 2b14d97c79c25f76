"""A file of unit tests, read strictly.

    rule_files ─▶ groups          tests ─▶ input_series · alert_rule_test · promql_expr_test

Source: Prometheus `cmd/promtool/unittest.go`.
"""

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from data_api.api.params import parse_time
from data_api.errors import BadRequest
from data_api.gotemplate import durations
from data_api.promqltest.literals import Literal, literals
from data_api.promqltest.script import BadScript, parse_labels, parse_values
from data_api.rules import parsing
from data_api.rules.fields import Bounds
from data_api.rules.model import ALERT_NAME, Group, LabelKey, label_key

BOUNDS = Bounds(interval_ms_min=0)


class BadSuite(Exception):
    """The file is no unit test; the text says where and why."""


def _by(parse: Callable[[str], object]) -> PlainValidator:
    """A text is what `parse` makes of it, or the reason why not."""

    def validated(text: object) -> object:
        try:
            return parse(str(text))
        except BadScript as error:
            raise ValueError(str(error)) from error
        except BadRequest as error:
            raise ValueError(error.describe()) from error

    return PlainValidator(validated)


def _labels(text: str) -> dict[str, str]:
    labels, rest = parse_labels(text)
    if rest:
        raise ValueError(f"no label set: {text!r}")
    return labels


Labels = Annotated[dict[str, str], _by(_labels)]
Values = Annotated[list[float | Literal | None], _by(parse_values)]
Duration = Annotated[int, _by(durations.parse)]
Time = Annotated[int, _by(lambda text: parse_time("start_timestamp", text.replace(" ", "T")))]
Histogram = Annotated[Literal, _by(lambda text: literals(text)[0])]


class _Fields(BaseModel):
    """What is empty has its default; what is unknown is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, fields: Any) -> Any:
        return {k: v for k, v in fields.items() if v != ""} if isinstance(fields, dict) else fields


class InputSeries(_Fields):
    """`series` in the notation of a selector, `values` in that of PromQL tests."""

    series: Labels
    values: Values


class ExpectedAlert(_Fields):
    """Labels but the alert's name, and annotations."""

    exp_labels: dict[str, str] = {}
    exp_annotations: dict[str, str] = {}


class AlertTest(_Fields):
    """The alerts of a name that fire at a time."""

    eval_time: Duration = 0
    alertname: Annotated[str, Field(min_length=1)]
    exp_alerts: list[ExpectedAlert] = []

    def wanted(self) -> list[tuple[LabelKey, LabelKey]]:
        """(labels, annotations) of each, ascending."""
        name = {ALERT_NAME: self.alertname}
        alerts = [(one.exp_labels | name, one.exp_annotations) for one in self.exp_alerts]
        return sorted((label_key(labels), label_key(texts)) for labels, texts in alerts)


class ExpectedSample(_Fields):
    """A sample that an expression selects."""

    labels: Labels = {}
    value: float = 0.0
    histogram: Histogram | None = None


class ExprTest(_Fields):
    """What an expression selects at a time."""

    expr: str
    eval_time: Duration = 0
    exp_samples: list[ExpectedSample] = []


class Case(_Fields):
    """One of `tests`."""

    name: str = ""
    interval: Duration | None = None
    start_timestamp: Time = 0
    input_series: list[InputSeries] = []
    alert_rule_test: list[AlertTest] = []
    promql_expr_test: list[ExprTest] = []
    external_labels: dict[str, str] = {}
    external_url: str = ""


class Suite(_Fields):
    """A file. fuzzy_compare: values of samples may differ in their last digits."""

    rule_files: list[str] = []
    evaluation_interval: Annotated[Duration, Field(gt=0)] = 60_000
    group_eval_order: list[str] = []
    fuzzy_compare: bool = False
    tests: list[Case] = []


def read(path: Path) -> tuple[Suite, list[Group]]:
    """The tests of a file, and the rules that they are of, in order. Raises BadSuite, OSError."""
    try:
        # Of this loader every scalar is the text that is written, never a number or a truth value.
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)  # noqa: S506 - it makes texts only
        suite = Suite.model_validate(document or {})
        return suite, _groups(path, suite)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadSuite(f"{path}: {where}: {first['msg']}") from error
    except (BadRequest, ValueError, BadScript, yaml.YAMLError) as error:
        reason = error.describe() if isinstance(error, BadRequest) else error
        raise BadSuite(f"{path}: {reason}") from error


def _groups(path: Path, suite: Suite) -> list[Group]:
    groups: list[Group] = []
    for pattern in suite.rule_files:
        files = sorted(map(Path, glob.glob(str(path.parent / pattern))))  # noqa: PTH207 - may be absolute
        if not files:
            raise ValueError(f"no rule file {pattern}")
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
                groups += parsing.parse_file(text, str(file), BOUNDS)
            except parsing.InvalidRules as error:
                raise ValueError(f"{file}:\n{error.describe()}") from error
    order = suite.group_eval_order
    if unknown := set(order) - {group.name for group in groups}:
        raise ValueError(f"group_eval_order: no group {min(unknown)}")
    return sorted(groups, key=lambda g: order.index(g.name) if g.name in order else len(order))
