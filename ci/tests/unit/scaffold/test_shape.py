"""Kinds without a schema are held to a small list of fields."""

import copy

import kube_checks
import pytest

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
    assert kube_checks.shape_faults(SECRET) == []


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
        line.startswith("ExternalSecret s: ") and said in line
        for line in kube_checks.shape_faults(item)
    )


def test_a_selector_matches_its_own_pods():
    """Every cluster refuses it otherwise, but no schema says so."""
    assert kube_checks.faults_together([deployment({"app": "x", "more": "y"})]) == []
    assert "does not match" in kube_checks.faults_together([deployment({"app": "y"})])[0]


def test_two_of_one_name_are_told():
    """Of two that differ, the cluster would keep whichever came last; equal ones do no harm."""
    item, other = deployment({"app": "x"}), deployment({"app": "x", "more": "y"})
    found = kube_checks.faults_together([item, other])
    assert found == ["Deployment d is there 2 times, each another"]
    assert kube_checks.faults_together([item, item]) == []
    elsewhere = {**other, "metadata": {"name": "d", "namespace": "another"}}
    assert kube_checks.faults_together([item, elsewhere]) == []


def test_kubernetes_has_schemas_for_its_own_kinds_only():
    """Its own kind that a version does not know is a fault; a custom one is unknown."""
    gone = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}
    assert not kube_checks.is_custom(gone)
    assert kube_checks.schema_faults(gone, "1.30") == [
        "policy/v1beta1 PodDisruptionBudget does not exist there"
    ]
    assert kube_checks.is_custom(SECRET)
    assert not kube_checks.is_custom({"apiVersion": "v1", "kind": "Service"})


def test_values_of_a_secret_are_not_told():
    """A fault of a Secret names the place alone."""
    item = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": 12345}}
    (line,) = kube_checks.schema_faults(item, kube_checks.versions()[-1])
    assert line == "data.p: is not what the schema has"


def test_strict_schemas_see_a_misspelt_field():
    """The API server would drop it without a word."""
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}
    (line,) = kube_checks.schema_faults(item, kube_checks.versions()[-1])
    assert "'port' was unexpected" in line
