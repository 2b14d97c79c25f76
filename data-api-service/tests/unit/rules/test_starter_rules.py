"""The rules that come with the service: each is tested, and names only what is exported."""

import re
from pathlib import Path

import pytest

from data_api.gotemplate import check_alert
from data_api.rules import parsing
from data_api.rules.model import AlertingRule
from data_api.ruletest import suite
from data_api.ruletest.__main__ import main

SERVICE = Path(__file__).parents[3]
FILES = sorted((SERVICE / "data_api" / "starter_rules").glob("*.yaml"))
TESTS = sorted((SERVICE / "tests" / "golden" / "starter_rules").glob("*.yaml"))
OTHERS = [path for path in SERVICE.parent.glob("*-service") if path.is_dir()]


def alerts_of(path):
    groups = parsing.parse_file(path.read_text(), path.name)
    return [rule for group in groups for rule in group.rules if isinstance(rule, AlertingRule)]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_starter_rules_do_what_their_tests_say(path, capsys):
    """In promtool's format, beside the promise that each alert fires."""
    assert main([str(path)]) == 0, capsys.readouterr().out


def test_every_alert_fires_in_some_test():
    """A rule that nobody saw firing is not handed out."""
    fired = {
        test.name
        for path in TESTS
        for case in suite.read(path).cases
        for test in case.alerts
        if test.wanted
    }
    assert fired == {rule.alert for path in FILES for rule in alerts_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_alert_says_how_bad_it_is_and_what_it_is(path):
    """A severity and a summary, both templates that parse."""
    for rule in alerts_of(path):
        assert rule.labels["severity"] in {"critical", "warning", "info"}
        check_alert(rule.annotations["summary"], rule.alert)


@pytest.mark.skipif(len(OTHERS) < 2, reason="this folder alone: the other services are not there")
def test_rules_of_the_hub_name_what_its_services_export():
    """No invented names: each stands in the source of the service that exports it."""
    text = (SERVICE / "data_api" / "starter_rules" / "hub.yaml").read_text()
    names = set(re.findall(r"(?<![:\w])cloudopshub_\w+", text))
    sources = "".join(
        path.read_text()
        for folder in OTHERS
        for path in folder.glob("*_*/**/*.py")
        if ".venv" not in path.parts
    )
    assert len(names) > 8
    for name in names:
        assert f'"{name.removesuffix("_bucket")}"' in sources, name
