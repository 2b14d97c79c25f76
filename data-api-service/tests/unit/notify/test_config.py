"""The configuration: what is taken, what is refused and where, and that secrets stay secret."""

import pytest

from data_api.notify import config
from data_api.notify.compiled import compiled
from data_api.notify.errors import BadConfiguration

GOOD = """
global:
  smtp_smarthost: mail.example:587
  smtp_from: hub@example.org
  smtp_auth_password: correct-horse
route:
  receiver: team
  group_by: [alertname, cluster]
  routes:
    - matchers: ['severity="page"', team=~"a|b"]
      receiver: pager
      continue: true
      group_wait: 10s
      mute_time_intervals: [nights]
receivers:
  - name: team
    slack_configs:
      - api_url: https://hooks.slack.example/services/T0/B0/s3cr3t-path
        channel: '#alerts'  # was https://hooks.slack.example/services/old-secret
    webhook_configs:
      - url: https://hook.example/in?token=abc12345
        secret: whsec_c2VjcmV0LWtleS1ieXRlcw==
        http_config: {basic_auth: {username: u, password: p4ssw0rd-here}}
  - name: pager
    pagerduty_configs: [{routing_key: R0UT1NGK3Y}]
    email_configs: [{to: a@example.org}]
    opsgenie_configs: [{api_key: 0ps-genie-key, priority: P2}]
    msteamsv2_configs: [{webhook_url: 'https://teams.example/hook-secret'}]
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [cluster]
time_intervals:
  - name: nights
    time_intervals:
      - times: [{start_time: '22:00', end_time: '24:00'}]
        weekdays: ['monday:friday', saturday]
        days_of_month: ['1:5', '-3:-1']
        months: ['january:march', '12']
        years: ['2026:2030']
        location: Europe/Berlin
templates:
  - '{{ define "mine" }}hello{{ end }}'
"""
SECRETS = (
    "correct-horse",
    "s3cr3t-path",
    "old-secret",
    "abc12345",
    "c2VjcmV0",
    "p4ssw0rd-here",
    "R0UT1NGK3Y",
    "0ps-genie-key",
    "hook-secret",
)


def refused(text):
    with pytest.raises(BadConfiguration) as caught:
        compiled(text)
    return str(caught.value)


def test_alertmanagers_words_are_taken():
    """Routes inherit what they do not say, but for intervals; durations are milliseconds."""
    root = compiled(GOOD).root
    (child,) = root.children
    top, below = root.config, child.config
    assert (top.group_wait_ms, below.group_wait_ms) == (30_000, 10_000)
    assert (below.group_interval_ms, below.repeat_interval_ms) == (300_000, 14_400_000)
    assert below.group_by == ("alertname", "cluster")
    assert (below.mute_time_intervals, top.mute_time_intervals) == (("nights",), ())
    assert child.key == '{}/{severity="page",team=~"a|b"}'


def test_an_integration_has_what_global_says_and_it_does_not():
    """Its own wins, and where neither says anything, what is usual holds; an empty key is none."""
    (team, pager) = compiled(
        """
global: {slack_api_url: 'https://all.example/x', smtp_require_tls: false, smtp_from: a@example.org}
route: {receiver: team}
receivers:
  - name: team
    slack_configs: [{api_url: 'https://own.example/y'}, {api_url: null}, {}]
  - name: pager
    pagerduty_configs: [{routing_key: k}]
    email_configs: [{to: b@example.org, smarthost: 'mail.example:25'}]
"""
    ).config.receivers
    hosts = [one.api_url.get_secret_value() for one in team.slack_configs]
    assert hosts == ["https://own.example/y", "https://all.example/x", "https://all.example/x"]
    assert pager.pagerduty_configs[0].url == "https://events.pagerduty.com/v2/enqueue"
    (mail,) = pager.email_configs
    assert (mail.from_, mail.require_tls, mail.auth_username) == ("a@example.org", False, "")


def test_no_secret_is_shown():
    """Neither what is shown of a configuration nor its repr has a secret in it, comments neither;
    what is shown is YAML that differs in nothing else.
    """
    read, shown = config.read(GOOD)
    for text in (shown, repr(read), repr(compiled(GOOD).config)):
        assert not [secret for secret in SECRETS if secret in text]
    assert shown.count("<secret>") == 8
    assert "#alerts" in shown
    assert "Europe/Berlin" in shown
    assert "<secret> stands for a secret that is not shown" in refused(shown)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("receiver: pager", "reciever: pager", "11:7: route.routes[0]: reciever: not known here"),
        (
            "group_wait: 10s",
            "group_wait: 10",
            "13:7: route.routes[0].group_wait: not a valid",
        ),
        ("receiver: pager", "receiver: nobody", "there is no receiver 'nobody'"),
        ("[nights]", "[days]", "there is no time interval 'days'"),
        ("- name: pager", '- name: "a\\0"', "receivers[1].name"),
        ("- name: pager", "- name: team", "receiver 'team' stands there twice"),
        ('severity="page"', 'severity="page', "matcher 'severity=\"page' at"),
        ('team=~"a|b"', 'team=~"a("', "missing )"),
        ("Europe/Berlin", "Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("'-3:-1'", "'-3:1'", "it begins from the month's end"),
        ("'-3:-1'", "'0'", "'0': expected a number from -31 to 31"),
        ("'12'", "'13'", "'13': expected a name like january or a number from 1 to 12"),
        ("saturday]", "caturday]", "'caturday': expected a name like sunday, or a:b"),
        ("'22:00'", "'25:00'", "expected a time from 00:00 to 24:00"),
        ("https://hook.example", "ftp://hook.example", "a URL that begins with http"),
        ("https://hook.example", "https://u:p@hook.example", "a credential in the URL"),
        (
            "smtp_from: hub@example.org",
            "",
            "26:21: receivers[1].email_configs[0].from: Field required",
        ),
        ("hello{{ end }}", "hello{{ end", "templates[0]: template"),
        ("[alertname, cluster]", "[alertname, alertname]", "names a label twice"),
        (
            "- name: pager",
            "- name: pager\n    name: pager",
            '25:5: mapping key "name"',
        ),
        ("continue: true", "continue: maybe", "route.routes[0].continue:"),
    ],
)
def test_a_fault_is_told_with_its_place(old, new, expected):
    """What cannot be used is refused, and the message says where and what."""
    assert old in GOOD
    assert expected in refused(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "either route or alertmanager_urls must be given"),
        ("[1, 2]", "1:1: it: expected a mapping"),
        ("route: {receiver: x", "2:1: yaml: did not find expected"),
        ("a: &a [x, *a]", "1:11: yaml: an alias stands inside of its own anchor"),
        ("a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 100 + "]", "too much text behind aliases"),
        ("route: !!int abc", "1:1: route: expected a mapping"),
        ("[" * 5000, "exceeded maximum nesting depth"),
        ("x" * 300_000, "300000 bytes, the limit is 262144"),
        (
            "route: {receiver: a}\nreceivers: [{name: a}]\nalertmanager_urls: [http://am]",
            "either route or alertmanager_urls must be given, and not both",
        ),
        (
            "receivers: [{name: a}]\nroute: {receiver: a, routes: ["
            + ("{matchers: [" + "a!=b, " * 50 + "]}, ") * 50
            + "]}",
            "more than 2000 matchers",
        ),
        (
            f"inhibit_rules: [{{equal: [], source_matchers: ['{'a!=b,' * 65}']}}]",
            "too many matchers",
        ),
        (
            "inhibit_rules: [{source_matchers: ['a=~\"%s\"']}]" % ("x{1000}" * 60),
            "pattern too large",
        ),
        ("route: {receiver: a, matchers: [b=c]}\nreceivers: [{name: a}]", "takes every alert"),
    ],
)
def test_what_is_no_configuration_is_refused(text, expected):
    """Any text is taken or refused with a reason, in bounded work."""
    assert expected in refused(text)


def test_a_route_is_nested_in_bounds():
    """More levels of routes than the bound are refused."""
    inner = "{receiver: a}"
    for _ in range(30):
        inner = f"{{receiver: a, routes: [{inner}]}}"
    assert "in one another" in refused(f"route: {inner}\nreceivers: [{{name: a}}]")
