"""Every way to write an image, through the gate: what Helm and kustomize make of it passes."""

import json
import os
from pathlib import Path

import pytest

from ci.bump import render_gate
from ci.bump.render_gate import Expected
from ci.manifests import set_image
from ci.model import ImageRef
from ci.tools import helm, kube_yaml

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
# What a chart of that shape prints, from the mapping that holds the image.
JOINED = (
    "{{ with .registry }}{{ . }}/{{ end }}{{ .repository }}"
    "{{ with .digest }}@{{ . }}{{ else }}:{{ .tag }}{{ end }}"
)
WHOLE, TAG = "{{ . }}", "000000000000.dkr.ecr.eu-west-1.amazonaws.com/cloudopshub-das:{{ . }}"
CHARTS = {  # folder → where the image is in the values, and how the chart prints it
    "anchors-elsewhere": (".Values.das.image", JOINED),
    "bare-tag": (".Values.versions.das", TAG),
    "bitnami": (".Values.das.image", JOINED),
    "bitnami-moves": (".Values.das.image", JOINED),
    "crlf-and-bom": (".Values.image", JOINED),
    "digest-key": (".Values.api.image", JOINED),
    "empty-values": (".Values.image", JOINED),
    "helm-values": (".Values.image", JOINED),
    "json": (".Values.image", JOINED),
    "list-by-name": ("(index .Values.services 1).image", JOINED),
    "no-final-newline": (".Values.image", JOINED),
    "quoted-keys": ('(index .Values "helm.values").image', JOINED),
    "tag-at-digest": (".Values.das", WHOLE),
    "umbrella": ('(index .Values "cloudopshub-das").image', JOINED),
    "without-a-tag": (".Values.image", WHOLE),
}
KUSTOMIZED = {  # folder → the image in the manifest that the kustomization changes
    "kustomize-both": "cloudopshub-das",
    "kustomize-digest": "000000000000.dkr.ecr.eu-west-1.amazonaws.com/cloudopshub-das",
    "kustomize-new-tag": "cloudopshub-das",
}
PLAIN = {"multi-document", "single-string"}
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: das}}
spec:
  containers:
    - {{name: das, image: {}}}
"""


@pytest.fixture(scope="module")
def tool():
    return helm.find(ROOT / ".cache", os.environ)


def rendered(tool, folder, name, content):
    """The objects that the golden file `content` leads to."""
    if name in PLAIN:
        return kube_yaml.parse("kind: Rollout\n" * (name == "single-string") + content.decode())
    if name in KUSTOMIZED:
        (folder / "pod.yaml").write_text(POD.format(KUSTOMIZED[name]))
        (folder / "kustomization.yaml").write_bytes(content + b"\nresources: [pod.yaml]\n")
        return tool.kustomize(folder, ".")
    place, printed = CHARTS[name]
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: x, version: 0.0.1}")
    image = f'"{{{{ with {place} }}}}{printed}{{{{ end }}}}"'
    (folder / "templates" / "pod.yaml").write_text(POD.format(image))
    (folder / "own.yaml").write_bytes(content)
    return tool.template(folder, ".", ["own.yaml"], release="das", namespace="staging")


# `odd-formatting` is no file that Helm reads; a kustomization with a digest alone has no tag.
CASES = [
    (folder.parent, pin)
    for folder in sorted(GOLDEN.glob("*/edit.json"))
    for pin in ("digest", "tag")
    if folder.parent.name != "odd-formatting"
    and (folder.parent.name, pin) != ("kustomize-digest", "tag")
]


@pytest.mark.parametrize(("folder", "pin"), CASES, ids=lambda each: getattr(each, "name", each))
def test_the_edit_of_every_layout_passes_the_gate(tool, tmp_path, folder, pin):
    """Whether a chart joins tag and digest or prints the digest alone, it is the wanted image."""
    asked = json.loads((folder / "edit.json").read_text())
    before = (folder / "before.yaml").read_bytes()
    image = ImageRef(asked["image"], asked["tag"], asked["digest"])
    after = set_image(before, asked["key"], image, document=asked.get("document"), pin=pin).content
    old = rendered(tool, tmp_path, folder.name, before)
    new = rendered(tool, tmp_path, folder.name, after)
    wanted = ImageRef(image.repository, image.tag) if pin == "tag" else image
    assert render_gate.refusals(old, new, Expected({image.name: wanted})) == []
