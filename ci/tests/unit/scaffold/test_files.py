"""The files of a manifest repository, decided from facts."""

import dataclasses

import pytest
import yaml
from listed_services import delivery

from ci import catalogue, config
from ci.errors import Refused
from ci.scaffold import commands as files

LISTED = catalogue.load()
DELIVERY = delivery(LISTED)
ECR = "123456789012.dkr.ecr.us-east-2.amazonaws.com"
ADDRESSES = files.Addresses(ECR, "https://git.example/manifests.git", "main", "hub.example")


def written(wanted=DELIVERY, addresses=ADDRESSES):
    return files.manifest_repository(wanted, LISTED.services, addresses)


def test_every_service_of_every_environment_has_its_files():
    """The layout is the one that ci.toml tells bump of."""
    paths = written().keys()
    for service in LISTED.services:
        assert f"services/{service.folder}.yaml" in paths
        for environment in DELIVERY.environments:
            assert DELIVERY.target(service, environment.name).file in paths
            assert f"environments/{environment.name}/common.yaml" in paths


def test_the_chart_is_taken_word_for_word():
    """Helm's own braces are nobody's holes."""
    charts = {path: text for path, text in written().items() if path.startswith("charts/")}
    assert len(charts) > 10
    assert all((files.TEMPLATE / path).read_text() == text for path, text in charts.items())


def test_no_hole_is_left_and_everything_is_yaml():
    """Nothing of the templates shows through."""
    for path, text in written().items():
        assert path.startswith("charts/") or not files.HOLE.search(text), path
        if path.endswith(".yaml") and "/templates/" not in path:
            assert yaml.safe_load(text), path


def test_the_image_says_that_nothing_was_delivered_and_is_quoted():
    """An honest placeholder: its repository is right, its tag is none."""
    text = written()["environments/staging/data-api-service.yaml"]
    assert f"image:\n  repository: {ECR}/cloudopshub-das\n" in text
    assert '  tag: "none-yet"\n' in text


def test_account_and_region_are_those_of_the_registry():
    """What ECR's address says is not asked again; without it they are plainly no real ones."""
    common = yaml.safe_load(written()["environments/production/common.yaml"])
    prefix = "arn:aws:iam::123456789012:role/cloudopshub-production-"
    assert common["serviceAccount"]["roleArnPrefix"] == prefix
    assert common["environmentConfig"]["AWS_REGION"] == "us-east-2"
    local = ADDRESSES._replace(registry="127.0.0.1:5000")
    text = written(addresses=local)["environments/production/common.yaml"]
    assert "arn:aws:iam::000000000000:role/" in text


def test_the_last_environment_has_the_domain_itself():
    """Every other has its name before it."""
    found = written()
    for name, host in {"staging": "staging.hub.example", "production": "hub.example"}.items():
        values = yaml.safe_load(found[f"environments/{name}/common.yaml"])
        assert values["ingress"]["host"] == host
        assert values["environmentConfig"]["UI_PUBLIC_URL"] == f"https://{host}"
        bucket = f"s3://cloudopshub-{name}-hub-example/metrics?region=us-east-2"
        assert values["environmentConfig"]["OBJECT_STORE_URL"] == bucket


def test_an_environment_of_ci_toml_is_an_element_of_the_application_set():
    """One list, in ci.toml; the number of environments is nobody's constant."""
    third = config.Environment("canary", "staging")
    more = dataclasses.replace(DELIVERY, environments=(*DELIVERY.environments, third))
    found = written(more)
    text = found["argocd/apps/applications.yaml"]
    listed = yaml.safe_load(text)["spec"]["generators"][0]["matrix"]["generators"][1]["list"]
    assert [each["environment"] for each in listed["elements"]] == [
        "staging",
        "production",
        "canary",
    ]
    assert "environments/canary/common.yaml" in found


def test_another_layout_is_refused():
    """One layout is written; nobody pretends to know another."""
    target = config.Target("values/{folder}.yaml", "image")
    other = dataclasses.replace(
        DELIVERY, manifests=dataclasses.replace(DELIVERY.manifests, target=target)
    )
    with pytest.raises(Refused, match="another layout"):
        written(other)


def test_a_service_without_values_is_refused():
    """Its ports, users and calls are nobody's guess; where they belong is told."""
    more = dataclasses.replace(LISTED.services[0], folder="new-service")
    with pytest.raises(Refused, match=r"no values for new-service.*ci/scaffold/template"):
        files.manifest_repository(DELIVERY, [*LISTED.services, more], ADDRESSES)


def test_a_file_that_says_something_else_is_never_overwritten(tmp_path):
    """And then nothing is written at all; the same words again are no harm."""
    wanted = {"a.yaml": "a: 1\n", "b/c.yaml": "c: 1\n"}
    assert files.write(tmp_path, wanted, dry_run=True) == ["a.yaml", "b/c.yaml"]
    assert list(tmp_path.iterdir()) == []
    assert files.write(tmp_path, wanted) == ["a.yaml", "b/c.yaml"]
    assert {path: (tmp_path / path).read_text() for path in wanted} == wanted
    assert files.write(tmp_path, wanted) == []
    (tmp_path / "a.yaml").write_text("a: mine\n")
    with pytest.raises(Refused, match=r"a\.yaml"):
        files.write(tmp_path, {**wanted, "d.yaml": ""})
    assert not (tmp_path / "d.yaml").exists()
