"""Helm and kubectl as `ci` calls them: found, cut off from everything, and read back truly."""

import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci import catalogue
from ci.config import Render
from ci.context import from_environment
from ci.errors import CiError, OutsideFault
from ci.tools import helm as helm_module
from ci.tools.helm import Helm
from ci.tools.kube_yaml import DoesNotRender, parse

LISTED = catalogue.load()
DAS = LISTED.service("das")
CACHE = from_environment(LISTED).cache_dir

CHART = "apiVersion: v2\nname: c\nversion: 1.0.0\n"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
spec: {containers: [{name: a, image: "{{ .Values.repository }}:{{ .Values.tag }}"}]}
"""


def render(**changes):
    fields = {
        "tool": "helm",
        "chart": "chart",
        "values": ("{environment}.yaml", "not-there.yaml"),
        "release": "{code}",
        "namespace": "hub-{environment}",
        "path": "overlay",
        "may_change": (),
    }
    return Render(**fields | changes)


@pytest.fixture(scope="module")
def helm():
    """The one that every command would take here."""
    try:
        return helm_module.find(CACHE, os.environ)
    except OutsideFault as fault:
        pytest.skip(f"no Helm on this machine: {fault}")


@pytest.fixture
def folder(tmp_path):
    """A manifest repository with one chart and one values file, in a folder with an odd name."""
    place = tmp_path / "odd, place"
    (place / "chart" / "templates").mkdir(parents=True)
    (place / "chart" / "Chart.yaml").write_text(CHART)
    (place / "chart" / "templates" / "pod.yaml").write_text(POD)
    (place / "staging.yaml").write_text('repository: r.example/das\ntag: "1e10"\n')
    return place


def test_names_and_namespaces_are_filled_in(helm, folder):
    """Release, namespace and files come from ci.toml's templates; absent files are left out."""
    (pod,) = helm.render(folder, render(), DAS, "staging")
    assert pod["metadata"] == {"name": "das", "namespace": "hub-staging"}
    assert pod["spec"]["containers"] == [{"name": "a", "image": "r.example/das:1e10"}]


@pytest.mark.parametrize(
    ("tag", "printed"),
    [
        ('"0123"', "0123"),
        ("0123", "83"),
        ("1e10", "1e+10"),
        ("1234567", "1.234567e+06"),
        ("1.20", "1.2"),
        ("yes", "true"),
        ('"41@sha256:' + "a" * 64 + '"', "41@sha256:" + "a" * 64),
    ],
)
def test_what_helm_makes_of_a_tag(helm, folder, tag, printed):
    """A bare one becomes a number or a truth; a quoted one stays. The gate sees the result."""
    (folder / "staging.yaml").write_text(f"repository: r\ntag: {tag}\n")
    (pod,) = helm.render(folder, render(), DAS, "staging")
    assert pod["spec"]["containers"][0]["image"] == f"r:{printed}"


def test_a_file_name_with_a_comma_is_one_file(helm, folder):
    """Helm reads the option as CSV."""
    (folder / 'a,b"c.yaml').write_text("repository: r\ntag: t\n")
    (pod,) = helm.render(folder, render(values=('a,b"c.yaml',)), DAS, "staging")
    assert pod["spec"]["containers"][0]["image"] == "r:t"


@pytest.mark.parametrize(("edited", "words"), [(True, "after the edit"), (False, "did not before")])
def test_a_broken_chart_is_refused_in_helms_words(helm, folder, edited, words):
    """And the refusal says whether it was broken before `ci` came."""
    (folder / "chart" / "templates" / "pod.yaml").write_text("{{ .Values.a.b.c }}")
    with pytest.raises(DoesNotRender) as refused:
        helm.render(folder, render(), DAS, "staging", edited=edited)
    assert words in str(refused.value)
    assert "nil pointer" in str(refused.value)
    assert refused.value.status == "does_not_render"
    assert "--debug" not in str(refused.value)


def test_a_chart_that_needs_another_from_elsewhere_is_refused(helm, folder):
    """Nothing is fetched that no Chart.lock pins."""
    text = CHART + "dependencies:\n  - {name: x, version: 1.0.0, repository: 'https://x.invalid'}\n"
    (folder / "chart" / "Chart.yaml").write_text(text)
    with pytest.raises(DoesNotRender, match="missing in charts"):
        helm.render(folder, render(), DAS, "staging")


def test_a_missing_chart_and_one_elsewhere_are_refused(helm, folder, tmp_path):
    """Neither a path nor a link leads out of the manifest repository."""
    with pytest.raises(DoesNotRender, match="nowhere is not there"):
        helm.render(folder, render(chart="nowhere"), DAS, "staging")
    (tmp_path / "secret.yaml").write_text("repository: r\n")
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(CiError, match="leads out"):
        helm.render(folder, render(values=("link.yaml",)), DAS, "staging")


def test_kustomize_writes_what_it_builds(helm, folder):
    """Tags and digests that kustomize puts in are in the objects."""
    overlay = folder / "overlay"
    overlay.mkdir()
    (overlay / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: das}\n"
        "spec: {containers: [{name: a, image: das}]}\n"
    )
    digest = "sha256:" + "b" * 64
    (overlay / "kustomization.yaml").write_text(
        "resources: [pod.yaml]\n"
        f"images: [{{name: das, newName: r.example/das, digest: '{digest}'}}]\n"
    )
    (pod,) = helm.render(folder, render(tool="kustomize"), DAS, "staging")
    assert pod["spec"]["containers"][0]["image"] == f"r.example/das@{digest}"


def test_a_remote_base_is_not_fetched(helm, folder):
    """A clone would need git, and there is none to be found."""
    overlay = folder / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: ['https://x.invalid/a/b?ref=main']\n")
    with pytest.raises(DoesNotRender):
        helm.render(folder, render(tool="kustomize"), DAS, "staging")


def test_no_renderer_renders_nothing(helm, folder):
    """Tool `none`: whoever chose it knows why; the gate is not asked."""
    assert helm.render(folder, render(tool="none"), DAS, "staging") == []


def test_programs_get_no_variable_of_ours(tmp_path, folder):
    """No credential of the pipeline reaches Helm, a plugin or a chart."""
    program = tmp_path / "helm"
    code = "import os, sys; open(sys.argv[1], 'w').write(' '.join(os.environ))"
    words = [sys.executable, "-c", code, str(tmp_path / "seen")]
    program.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")  # a path may hold blanks
    program.chmod(0o755)
    found = helm_module.find(
        CACHE, {**os.environ, "HELM": str(program), "AWS_SECRET_ACCESS_KEY": "x"}
    )
    assert found.helm == program
    found.template(folder, "chart", [], release="das", namespace="hub")
    seen = set((tmp_path / "seen").read_text().split()) - {"LC_CTYPE", "PWD", "SHLVL", "_"}
    homes = {"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_PLUGINS"}
    assert seen == {*homes, "HOME", "KUBECONFIG", "LC_ALL", "PATH", "TMPDIR"}


def test_a_named_helm_that_is_none_says_so(tmp_path):
    """A wrong variable is not quietly replaced by another program."""
    with pytest.raises(OutsideFault, match="HELM=/nowhere/helm is not a program"):
        helm_module.find(CACHE, {"HELM": "/nowhere/helm"})


def test_where_there_is_no_helm_the_fault_says_what_to_do(monkeypatch, tmp_path):
    """On a machine that the wheel is not made for, HELM or PATH must have one."""
    monkeypatch.setattr(helm_module.platform, "system", lambda: "Darwin")
    with pytest.raises(OutsideFault, match=r"set HELM, or put helm on PATH"):
        helm_module.find(tmp_path, {"PATH": str(tmp_path)})
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    assert helm_module.find(tmp_path, {"PATH": str(tmp_path)}) == Helm(tmp_path / "helm", None)
    with pytest.raises(OutsideFault, match="needs kubectl"):
        Helm(tmp_path / "helm", None).kustomize(tmp_path, ".")


def test_three_that_unpack_at_once_get_one_whole_program(helm, tmp_path, monkeypatch):
    """The place appears whole or not at all, whoever is first, and nothing is left beside it."""
    if "HELM" in os.environ:
        pytest.skip("HELM names another program")
    monkeypatch.setattr(helm_module, "_unpack", slowly(helm))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: helm_module.find(tmp_path, {"PATH": ""}), range(3)))
    assert len({each.helm for each in found}) == 1
    assert found[0].helm.read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "tools").iterdir()] == [found[0].helm.parent.name]


def slowly(helm):
    """An unpacking of the same shape that does not cost 37 MB three times."""

    def unpack(packed: Path, to: Path) -> None:
        assert packed.name.endswith(".tgz")
        for name in ("helm", "kubectl"):
            (to / name).write_bytes(b"who")
            os.sched_yield()
            (to / name).write_bytes(b"whole")

    return unpack


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e10", 1e10),
        ("0123", 83),
        ("0o17", 15),
        ("0x10", 16),
        ("1_000", 1000),
        ("08", 8.0),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("=", "="),
        ('"1e10"', "1e10"),
        ("41-1a2b3c4d", "41-1a2b3c4d"),
    ],
)
def test_values_are_typed_as_go_yaml_types_them(text, value):
    """Kubernetes' own reader decides what a manifest says, not Python's."""
    (item,) = parse(f"kind: X\nvalue: {text}\n")
    assert item["value"] == value
    assert type(item["value"]) is type(value)


def test_lists_are_taken_apart_and_empty_documents_left_out():
    """A `List` is its items."""
    text = "---\n# nothing\n---\nkind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\n"
    assert [item["kind"] for item in parse(text)] == ["A", "B", "C"]


@pytest.mark.parametrize("text", ["a: [", "kind: X\nkind: Y\n", "just text", "- a\n", "a: 1\n"])
def test_what_is_no_object_is_refused(text):
    """Broken YAML, a key twice, and YAML that is something else."""
    with pytest.raises(DoesNotRender):
        parse(text)


LIBRARY = """\
apiVersion: v2
name: lib
version: 1.0.0
type: library
"""
NAMED = '{{ define "lib.image" }}{{ .Values.repository }}:{{ .Values.tag }}{{ end }}'


def test_a_library_beside_the_chart_is_built_in_a_copy(helm, folder):
    """`file://` dependencies that nobody vendored, as Argo CD builds them; nothing is left."""
    (folder / "lib/templates").mkdir(parents=True)
    (folder / "lib/Chart.yaml").write_text(LIBRARY)
    (folder / "lib/templates/_image.tpl").write_text(NAMED)
    needs = "dependencies: [{name: lib, version: 1.0.0, repository: file://../lib}]\n"
    (folder / "chart/Chart.yaml").write_text(CHART + needs)
    pod = POD.replace("{{ .Values.repository }}:{{ .Values.tag }}", '{{ include "lib.image" . }}')
    (folder / "chart/templates/pod.yaml").write_text(
        pod.replace('image: "', "image: '").replace('" . }}"', "\" . }}'")
    )
    before = sorted(folder.rglob("*"))
    (item,) = helm.render(folder, render(), DAS, "staging")
    assert item["spec"]["containers"][0]["image"] == "r.example/das:1e10"
    assert sorted(folder.rglob("*")) == before


def test_a_dependency_that_cannot_be_had_is_named(helm, folder):
    """With what Helm says of it."""
    needs = "dependencies: [{name: lib, version: 1.0.0, repository: file://../nowhere}]\n"
    (folder / "chart/Chart.yaml").write_text(CHART + needs)
    with pytest.raises(DoesNotRender, match="dependencies lib of chart"):
        helm.render(folder, render(), DAS, "staging")
