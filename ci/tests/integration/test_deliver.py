"""What the commands join: a chart rendered by Helm, what earlier stages left, the configuration."""

import json
import os
from pathlib import Path

import delivery_lab
import pytest

from ci.delivery import config
from ci.errors import Refused
from ci.pipeline import bumping, means
from ci.tools import helm

ROOT = Path(__file__).resolve().parents[3]
RENDERED = delivery_lab.REST.replace(
    'tool = "none"',
    'tool = "helm"\nchart = "chart"\nvalues = ["environments/{environment}/{folder}.yaml"]\n'
    'release = "{folder}"\nnamespace = "{environment}"\nmay_change = []',
)
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: %s
spec:
  template:
    spec:
      containers:
        - name: main
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
"""


def files(labels="{}", chart="apiVersion: v2\nname: x\nversion: 0.0.1\n"):
    """A manifest repository with a chart of one Deployment."""
    values = {
        f"environments/{environment}/{code}-service.yaml": delivery_lab.VALUES.format(
            code=code,
            environment=environment,
            repository=f"{delivery_lab.HOST}/cloudopshub-{code}",
        )
        for code in delivery_lab.CODES
        for environment in ("staging", "production")
    }
    return values | {
        "chart/Chart.yaml": chart,
        "chart/templates/deployment.yaml": DEPLOYMENT % labels,
    }


def bump(lab):
    """`ci bump` as the command does it, with the renderer that is configured."""
    context = lab.context(at=1, HELM=str(helm.find(ROOT / ".cache", os.environ).helm))
    delivery = lab.delivery(context)
    return bumping.bump(context, delivery, lab.release(1), means.real(context, delivery))


def test_a_bump_that_renders_to_the_new_images_goes_through(tmp_path):
    """Three services rendered before and after by Helm."""
    with delivery_lab.running(tmp_path, rest=RENDERED, files=files()) as lab:
        assert bump(lab).status == "bumped"
        assert len(lab.log()) == 2


def test_a_bump_that_changes_more_than_images_is_refused(tmp_path):
    """A label made of the tag would change too: nothing is pushed, and the field is named."""
    labels = '{version: "{{ .Values.image.tag | trunc 20 }}"}'
    with delivery_lab.running(tmp_path, rest=RENDERED, files=files(labels)) as lab:
        with pytest.raises(Refused, match=r"labels\.version") as refused:
            bump(lab)
        assert refused.value.status == "rendering"
        assert len(lab.log()) == 1


def test_a_chart_that_did_not_render_before_is_said_to_be_broken(tmp_path):
    """It is not the bump that broke it."""
    broken = files(labels="{{ .Values.nothing.there }}")
    with delivery_lab.running(tmp_path, rest=RENDERED, files=broken) as lab:
        with pytest.raises(Refused, match="before this edit") as refused:
            bump(lab)
        assert refused.value.status == "does_not_render"
        assert len(lab.log()) == 1


@pytest.fixture
def lab(tmp_path):
    with delivery_lab.running(tmp_path) as lab:
        yield lab


def handed_on(lab, release, *, builds=None, at=1):
    """What `bump` finds when the stages before left this."""
    context = lab.context(at=at)
    context.handed_on.mkdir(parents=True)
    if release:
        (context.handed_on / "release.json").write_text(json.dumps(release.to_json()))
    if builds is not None:
        plan = {
            "commit": lab.commits[at], "run_id": "r", "tag": None, "may_not_publish": None,
            "lint": "", "parts": builds,
        }  # fmt: skip
        (context.handed_on / "plan.json").write_text(json.dumps(plan))
    return bumping.handed_on(context, bumping.guarded(context, lab.delivery(context)))


def test_the_release_of_this_build_is_taken(lab):
    """As `push` left it."""
    assert handed_on(lab, lab.release(1)) == lab.release(1)


def test_a_release_left_from_another_build_is_refused(lab):
    """A workspace may hold what an earlier build left there."""
    with pytest.raises(Refused, match="another build") as refused:
        handed_on(lab, lab.release(0))
    assert refused.value.status == "stale_release"


def test_a_release_that_is_missing_is_no_reason_to_be_content(lab):
    """A lost file would otherwise be a lost delivery."""
    with pytest.raises(Refused, match="push") as refused:
        handed_on(lab, None)
    assert refused.value.status == "no_release"


def test_a_plan_without_images_has_nothing_to_hand_over(lab):
    """Even where an earlier build left its release."""
    assert handed_on(lab, lab.release(0), builds=[]) is None


def test_dirty_files_are_never_published(lab):
    """What is published must be in git."""
    context = lab.context(at=1)
    (lab.source / "das-service" / "file").write_text("changed")
    with pytest.raises(Refused, match="git status"):
        bumping.guarded(context, lab.delivery(context))


def test_the_repository_that_is_configured_is_the_one_of_ci_toml(lab):
    """No address at all is refused by the name of the variable."""
    context = lab.context(at=1, MANIFEST_REPO_URL="")
    delivery = config.parse(lab.text, context.environ)
    with pytest.raises(Refused, match="MANIFEST_REPO_URL") as refused:
        bumping.bump(context, delivery, lab.release(1), delivery_lab.MEANS)
    assert refused.value.status == "unconfigured"
