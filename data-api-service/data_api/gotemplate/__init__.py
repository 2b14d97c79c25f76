"""Go's text/template as Prometheus's rules and Alertmanager's notifications use it; no IO.

    parse(text) ─▶ Template ─ render(template, data, functions=…) ─▶ text

A template is a tenant's program: its text, nesting, steps, output, queries and patterns (RE2) have
bounds. What it may read is fields of named tuples, what `METHODS` lists, and keys of a dict.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

from data_api.gotemplate import alertmanager, builtins, prometheus
from data_api.gotemplate.compiler import Compiler
from data_api.gotemplate.errors import TemplateError
from data_api.gotemplate.execution import Node, Run, Template
from data_api.gotemplate.prometheus import AlertData, QueryResult
from data_api.gotemplate.values import Allowance, Function, StringMap

__all__ = [
    "AlertData",
    "Allowance",
    "Function",
    "QueryResult",
    "StringMap",
    "Template",
    "TemplateError",
    "check_alert",
    "expand_alert",
    "parse",
    "render",
]

CACHED_CHARS_MAX = 2048  # of a template that is compiled once: it is expanded at each evaluation
_SPENT = "<error expanding template: the texts of the rule did or wrote more than they may in all>"

_METHODS = {**builtins.METHODS, **alertmanager.METHODS}
_ALERT_VARIABLES = (
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}"
    "{{$externalURL := .ExternalURL}}{{$value := .Value}}"
)


def parse(text: str, *, name: str = "", functions: Collection[str] = ()) -> Template:
    """The template; `functions` names those it may call besides Go's own. Raises TemplateError."""
    return Compiler(text, name, {*builtins.BUILTINS, *functions}).template()


def render(
    template: Template,
    data: object,
    *,
    functions: Mapping[str, Function] | None = None,
    definitions: Mapping[str, Node] | None = None,
    allowance: Allowance | None = None,
) -> str:
    """What the template writes for `data`; raises TemplateError.

    definitions: those of other files. allowance: of several templates in all.
    """
    callable_ = {**builtins.BUILTINS, **(functions or {})}
    return Run(template, callable_, _METHODS, definitions or {}, allowance).text(data)


def check_alert(text: str, name: str = "") -> None:
    """The text is a template that an alerting rule may have, or TemplateError says why not."""
    parse(_ALERT_VARIABLES + text, name=f"__alert_{name}", functions=prometheus.FUNCTION_NAMES)


_parsed = lru_cache(maxsize=1024)(parse)


def expand_alert(
    text: str,
    data: AlertData,
    query: prometheus.Query,
    *,
    name: str = "",
    allowance: Allowance | None = None,
) -> str:
    """A label or an annotation of the alert `name`; what fails is said by the text."""
    if "{{" not in text:
        return text
    if allowance is not None and allowance.is_spent:
        return _SPENT
    file, doing = f"__alert_{name}", "parsing"
    read = _parsed if len(text) <= CACHED_CHARS_MAX else parse
    try:
        template = read(_ALERT_VARIABLES + text, name=file, functions=prometheus.FUNCTION_NAMES)
        doing = "executing"
        functions = prometheus.functions(data.ExternalURL, query)
        return render(template, data, functions=functions, allowance=allowance)
    except TemplateError as error:
        return f"<error expanding template: error {doing} template {file}: {error.describe()}>"
