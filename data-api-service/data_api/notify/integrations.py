"""What a receiver is made of: one model for each kind of integration, in Alertmanager's words.

`kind` names an integration in the delivery log; the texts are templates (texts.py).
"""

import base64
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from data_api.notify.fields import Address, Duration, Secret, SecretUrl, Strict, Text, Url

Many = Field(max_length=20)


class BasicAuth(Strict):
    """User and password."""

    username: str = ""
    password: Secret = SecretStr("")

    def encoded(self) -> str:
        """As HTTP sends it."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return base64.b64encode(pair.encode()).decode()


class Authorization(Strict):
    """A token, or whatever else follows a type."""

    type: str = "Bearer"
    credentials: Secret


class HttpConfig(Strict):
    """What is shown to the server. Redirects are never followed; TLS is always verified."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    follow_redirects: Literal["false"] = "false"

    @model_validator(mode="after")
    def one_credential(self) -> Self:
        """There is at most one."""
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization are both given")
        return self


class Integration(Strict):
    """What all integrations have."""

    kind: ClassVar[str]
    send_resolved: bool = True


class HttpIntegration(Integration):
    """One that is reached by HTTP."""

    http_config: HttpConfig = HttpConfig()


class Webhook(HttpIntegration):
    """Alertmanager's JSON body; signed after Standard Webhooks where `secret` is given (ours)."""

    kind = "webhook"
    url: SecretUrl
    max_alerts: Annotated[int, Field(ge=0)] = 0
    secret: Secret | None = None


class Slack(HttpIntegration):
    """Slack's incoming webhook, and what takes the same, as Mattermost."""

    kind = "slack"
    send_resolved: bool = False
    api_url: SecretUrl | None = None
    channel: Text = ""
    username: Text = ""
    icon_emoji: Text = ""
    color: Text = '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
    title: Text = '{{ template "default.title" . }}'
    title_link: Text = "{{ .ExternalURL }}"
    text: Text = '{{ template "default.text" . }}'


class Teams(HttpIntegration):
    """A workflow of Microsoft Teams, which takes an adaptive card."""

    kind = "msteamsv2"
    webhook_url: SecretUrl
    title: Text = '{{ template "default.title" . }}'
    text: Text = '{{ template "default.text" . }}'


class Email(Integration):
    """A mail by SMTP, encrypted unless `require_tls: false`; port 465 is TLS from the start."""

    kind = "email"
    send_resolved: bool = False
    to: Annotated[str, Field(min_length=3)]
    from_: Annotated[str | None, Field(alias="from")] = None
    smarthost: Address | None = None
    auth_username: str | None = None
    auth_password: Secret | None = None
    require_tls: bool | None = None
    subject: Text = '{{ template "default.title" . }}'
    text: Text = '{{ template "default.text" . }}'
    html: Text = ""


class PagerDuty(HttpIntegration):
    """Events API v2; the group is the incident (`dedup_key`)."""

    kind = "pagerduty"
    routing_key: Secret
    url: Url | None = None
    client: Text = "CloudOpsHub"
    client_url: Text = "{{ .ExternalURL }}"
    description: Text = '{{ template "default.title" . }}'
    severity: Text = '{{ or .CommonLabels.severity "error" }}'
    component: Text = ""
    group: Text = ""
    details: Annotated[dict[str, Text], Many] = Field(
        default_factory=lambda: {"text": '{{ template "default.text" . }}'}
    )
    class_: Annotated[Text, Field(alias="class")] = ""


class Responder(Strict):
    """Who is told by Opsgenie."""

    type: Literal["team", "teams", "user", "escalation", "schedule"]
    id: str = ""
    name: str = ""
    username: str = ""


class Opsgenie(HttpIntegration):
    """Alerts API; the group is the alert (`alias`)."""

    kind = "opsgenie"
    api_key: Secret | None = None
    api_url: Url | None = None
    message: Text = '{{ template "default.title" . }}'
    description: Text = '{{ template "default.text" . }}'
    source: Text = "{{ .ExternalURL }}"
    priority: Literal["P1", "P2", "P3", "P4", "P5"] | None = None
    tags: Text = ""
    responders: Annotated[tuple[Responder, ...], Many] = ()


class Global(Strict):
    """What holds where an integration says nothing."""

    resolve_timeout: Duration = 300_000
    smtp_smarthost: Address | None = None
    smtp_from: str | None = None
    smtp_auth_username: str = ""
    smtp_auth_password: Secret = SecretStr("")
    smtp_require_tls: bool = True
    slack_api_url: SecretUrl | None = None
    pagerduty_url: Url = "https://events.pagerduty.com/v2/enqueue"
    opsgenie_api_url: Url = "https://api.opsgenie.com/"
    opsgenie_api_key: Secret | None = None


class Receiver(Strict):
    """A name, and what is told when a route leads here; perhaps nothing."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")]
    webhook_configs: Annotated[tuple[Webhook, ...], Many] = ()
    slack_configs: Annotated[tuple[Slack, ...], Many] = ()
    msteamsv2_configs: Annotated[tuple[Teams, ...], Many] = ()
    email_configs: Annotated[tuple[Email, ...], Many] = ()
    pagerduty_configs: Annotated[tuple[PagerDuty, ...], Many] = ()
    opsgenie_configs: Annotated[tuple[Opsgenie, ...], Many] = ()

    def lacks(self, defaults: Global) -> str:
        """What neither an integration nor `global` says; empty when nothing is missing."""
        for one in self.slack_configs:
            if not one.api_url and not defaults.slack_api_url:
                return "slack_configs need api_url, or global slack_api_url"
        for mail in self.email_configs:
            if not (mail.smarthost or defaults.smtp_smarthost):
                return "email_configs need smarthost, or global smtp_smarthost"
            if not (mail.from_ or defaults.smtp_from):
                return "email_configs need from, or global smtp_from"
        if any(not (one.api_key or defaults.opsgenie_api_key) for one in self.opsgenie_configs):
            return "opsgenie_configs need api_key, or global opsgenie_api_key"
        return ""

    def integrations(self) -> dict[str, Integration]:
        """Each by its key, `webhook/0`: the kind, and its place among those."""
        names = (name for name in type(self).model_fields if name.endswith("_configs"))
        lists = (getattr(self, name) for name in names)
        return {f"{one.kind}/{at}": one for many in lists for at, one in enumerate(many)}
