"""Kinds without a schema are held to a small list of fields."""

import copy

import pytest

from ci.scaffold import shape
from ci.tools import schemas

SECRET = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ExternalSecret",
    "metadata": {"name": "s"},
    "spec": {
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"},
        "target": {"name": "s"},
        "data": [{"secretKey": "A", "remoteRef": {"key": "k", "property": "A"}}],
    },
}


def deployment(labels):
    spec = {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": labels}},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def test_a_whole_one_passes():
    """Nothing is said of what is right."""
    assert shape.faults(SECRET) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: spec.update(refreshIntervall="1h"), "no field 'refreshIntervall'"),
        (lambda spec: spec.pop("secretStoreRef"), "spec.secretStoreRef.kind is missing"),
        (lambda spec: spec["data"][0].update(remoteRef={}), "data.*.remoteRef.key is missing"),
    ],
)
def test_a_misspelt_or_missing_field_is_named(change, said):
    """The name of the object and the path stand in the fault."""
    item = copy.deepcopy(SECRET)
    change(item["spec"])
    assert any(
        line.startswith("ExternalSecret s: ") and said in line for line in shape.faults(item)
    )


def test_a_selector_matches_its_own_pods():
    """Every cluster refuses it otherwise, but no schema says so."""
    assert shape.faults_together([deployment({"app": "x", "more": "y"})]) == []
    assert "does not match" in shape.faults_together([deployment({"app": "y"})])[0]


def test_two_of_one_name_are_told():
    """Of two that differ, the cluster would keep whichever came last; equal ones do no harm."""
    item, other = deployment({"app": "x"}), deployment({"app": "x", "more": "y"})
    found = shape.faults_together([item, other])
    assert found == ["Deployment d is there 2 times, each another"]
    assert shape.faults_together([item, item]) == []
    elsewhere = {**other, "metadata": {"name": "d", "namespace": "another"}}
    assert shape.faults_together([item, elsewhere]) == []


def test_kubernetes_has_schemas_for_its_own_kinds_only():
    """Its own kind that a version does not know is a fault; a custom one is unknown."""
    gone = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}
    assert not schemas.is_custom(gone)
    assert schemas.faults(gone, "1.30") == [
        "policy/v1beta1 PodDisruptionBudget does not exist there"
    ]
    assert schemas.is_custom(SECRET)
    assert not schemas.is_custom({"apiVersion": "v1", "kind": "Service"})


def test_values_of_a_secret_are_not_told():
    """A fault of a Secret names the place alone."""
    item = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": 12345}}
    (line,) = schemas.faults(item, schemas.versions()[-1])
    assert line == "data.p: is not what the schema has"


def test_strict_schemas_see_a_misspelt_field():
    """The API server would drop it without a word."""
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}
    (line,) = schemas.faults(item, schemas.versions()[-1])
    assert "'port' was unexpected" in line
