"""The texts of notifications: Go templates, as Alertmanager's, over a notification's data.

A text that cannot be expanded is told as its error: a notification with a bad text is better than
none. Texts are parsed when a configuration is set, so only what depends on the data is left.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from data_api.gotemplate import Allowance, TemplateError, parse, render
from data_api.gotemplate.alertmanager import KV, Alerts, functions
from data_api.gotemplate.errors import TemplateTooLarge
from data_api.notify.messages import Notice
from data_api.notify.state import Outbox
from data_api.notify.times import EPOCH

STEPS_MAX: Final = 200_000  # of all templates of one message
CHARS_MAX: Final = 1 << 20  # of the same

DEFAULTS: Final = """
{{ define "default.title" }}[{{ .Status | toUpper }}
{{- if eq .Status "firing" }}:{{ .Alerts.Firing | len }}{{ end }}]
{{- range .GroupLabels.SortedPairs.Values }} {{ . }}{{ end }}
{{- with .CommonLabels.Remove .GroupLabels.Names }} ({{ .Values | join " " }}){{ end }}{{ end }}
{{ define "default.alert" }}{{ .Labels.alertname }}
{{- with or .Annotations.summary .Annotations.description .Annotations.message }}: {{ . }}{{ end }}
{{ range (.Labels.Remove (stringSlice "alertname")).SortedPairs }}  {{ .Name }}={{ .Value }}
{{ end }}{{ with .Annotations.runbook_url }}  runbook: {{ . }}
{{ end }}{{ with .GeneratorURL }}  source: {{ . }}
{{ end }}{{ end }}
{{ define "default.text" }}{{ with .Alerts.Firing }}Firing:
{{ range . }}- {{ template "default.alert" . }}{{ end }}{{ end }}
{{- with .Alerts.Resolved }}Resolved:
{{ range . }}- {{ template "default.alert" . }}{{ end }}{{ end }}{{ end }}
{{ define "__subject" }}{{ template "default.title" . }}{{ end }}
"""
NAMES: Final = tuple(functions(EPOCH))


def check(text: str) -> str:
    """The text, which is a template; ValueError says why it is none."""
    if "{{" in text:
        try:
            parse(text, name="", functions=NAMES)
        except TemplateError as exc:
            raise ValueError(exc.describe()) from None
    return text


class Texts:
    """Expands texts that may use the definitions of `templates`, and the default ones."""

    def __init__(self, templates: Iterable[str]) -> None:
        self._definitions: dict[str, Any] = {}
        for text in (DEFAULTS, *templates):
            self._definitions |= parse(text, functions=NAMES).definitions

    def notice(self, outbox: Outbox, now_ms: int) -> Notice:
        """The notification with these texts, which have one allowance."""
        data, allowance = dict(outbox.data), Allowance(STEPS_MAX, CHARS_MAX)
        return Notice(outbox, lambda text: self.expand(text, data, now_ms, allowance), now_ms)

    def expand(
        self, text: str, data: dict[str, Any], now_ms: int, allowance: Allowance | None = None
    ) -> str:
        """The text for this notification; where it is too long, of its first alerts.

        allowance: of all texts of a message.
        """
        if "{{" not in text:
            return text
        now = datetime.fromtimestamp(now_ms / 1000, EPOCH.tzinfo)
        alerts, more = data["alerts"], ""
        while True:
            try:
                written = render(
                    parse(text, functions=NAMES),
                    _as_go(data | {"alerts": alerts}),
                    functions=functions(now),
                    definitions=self._definitions,
                    allowance=allowance,
                )
                return more + written.strip()
            except TemplateError as exc:
                if not isinstance(exc, TemplateTooLarge) or len(alerts) < 2:
                    return f"<error expanding template: {exc.describe()}>"
            alerts = alerts[: len(alerts) // 2]
            more = f"(the first {len(alerts)} of {len(data['alerts'])} alerts)\n"


def _as_go(given: Mapping[str, Any]) -> dict[str, Any]:
    """A notification, or one of its alerts, by the names of templates: `startsAt` → `StartsAt`."""
    return {name[0].upper() + name[1:]: _value(name, value) for name, value in given.items()}


def _value(name: str, value: Any) -> Any:
    if name == "alerts":
        return Alerts(map(_as_go, value))
    if name in {"startsAt", "endsAt"}:
        return datetime.fromisoformat(value)
    return KV(value) if isinstance(value, dict) else value
