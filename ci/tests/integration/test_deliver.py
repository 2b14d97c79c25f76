"""What the commands join: a chart rendered by Helm, what earlier stages left, the configuration."""

import json
import os
from dataclasses import replace
from pathlib import Path

import delivery_lab
import pytest
from small_platform import why_no_registry

from ci import catalogue, cli, config
from ci.bump import bumping, means, resuming
from ci.errors import CiError, Refused
from ci.plan import facts
from ci.promote import moves
from ci.push import repositories
from ci.tests.lab.ecr_door import running_ecr
from ci.tools import helm
from ci.tools.ecr import Registry
from ci.tools.oci import MANIFEST_TYPE, Distribution

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


def test_every_broken_chart_is_told_under_its_own_service(tmp_path):
    """One run says all that there is to mend."""
    broken = files(labels="{{ .Values.nothing.there }}")
    with delivery_lab.running(tmp_path, rest=RENDERED, files=broken) as lab:
        with pytest.raises(Refused) as refused:
            bump(lab)
        assert refused.value.facts["services"] == list(delivery_lab.CODES)
        for code in delivery_lab.CODES:
            assert f"{code}-service in staging does not render" in str(refused.value)


def test_a_tag_in_a_label_goes_through_when_it_is_pinned_by_its_tag(tmp_path):
    """With the digest it would be no label; the refusal names the settings that allow it."""
    labels = '{version: "{{ .Values.image.tag }}"}'
    with delivery_lab.running(tmp_path / "a", rest=RENDERED, files=files(labels)) as lab:
        with pytest.raises(Refused, match="a label holds at most 63") as refused:
            bump(lab)
        assert 'pin = "tag"' in str(refused.value)
    pinned = RENDERED.replace("[manifests]\n", '[manifests]\npin = "tag"\n')
    with delivery_lab.running(tmp_path / "b", rest=pinned, files=files(labels)) as lab:
        assert bump(lab).status == "bumped"
        release = lab.release(1)
        assert f"tag: '{release.tag}'" in lab.file("das")
        assert str(release.images["das"]) in "".join(lab.log("%B"))
        assert bump(lab).status == "already"


def test_a_dependency_beside_the_chart_is_built_in_a_copy(tmp_path):
    """As Argo CD does, without a network; nothing of it is committed."""
    chart = (
        "apiVersion: v2\nname: x\nversion: 0.0.1\n"
        "dependencies: [{name: lib, version: 0.0.1, repository: 'file://../lib'}]\n"
    )
    made = files(labels='{{ include "lib.labels" . }}', chart=chart) | {
        "lib/Chart.yaml": "apiVersion: v2\nname: lib\nversion: 0.0.1\ntype: library\n",
        "lib/templates/_labels.tpl": '{{ define "lib.labels" }}{a: b}{{ end }}',
    }
    with delivery_lab.running(tmp_path / "a", rest=RENDERED, files=made) as lab:
        assert bump(lab).status == "bumped"
        names = delivery_lab.git(lab.bare, "show", "--name-only", "--format=", "main")
        assert {name.split("/")[0] for name in names.split()} == {"environments"}
    made["chart/Chart.yaml"] = chart.replace("../lib", "../../../../../etc")
    leaving = delivery_lab.running(tmp_path / "b", rest=RENDERED, files=made)
    with leaving as lab, pytest.raises(CiError, match=r"is not there|leads out"):
        bump(lab)


def test_a_target_names_the_document_that_holds_the_image(tmp_path):
    """Of several documents in one file, the one it says changes."""
    document = 'key = "image", document = 1 }'
    rest = delivery_lab.REST.replace('key = "image" }', document)
    values = {path: f"first: 1\n---\n{text}" for path, text in files().items() if "/" in path}
    with delivery_lab.running(tmp_path, rest=rest, files=values) as lab:
        assert lab.bump(1).status == "bumped"
        assert lab.release(1).tag in lab.file("das")
        assert lab.bump(1).status == "already"


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
    return bumping.handed_on(context, facts.publishing(context, lab.delivery(context)))


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
        facts.publishing(context, lab.delivery(context))


def test_the_repository_that_is_configured_is_the_one_of_ci_toml(lab):
    """No address at all is refused by the name of the variable."""
    context = lab.context(at=1, MANIFEST_REPO_URL="")
    delivery = config.parse(lab.text, context.environ)
    with pytest.raises(Refused, match="MANIFEST_REPO_URL") as refused:
        bumping.bump(context, delivery, lab.release(1), delivery_lab.MEANS)
    assert refused.value.status == "unconfigured"


def published(registry, release, code):
    """The release with a real image of that service in the registry, and its record there."""
    image = release.images[code]
    name = image.repository.partition("/")[2]
    repositories.ensure(registry, name, 7, release.tag, fix=False)
    api = Distribution(registry.login())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"}
        | api.put_blob(name, b"{}"),
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
            | api.put_blob(name, release.tag.encode())
        ],
    }
    digest = api.put_manifest(name, release.tag, manifest)
    api.close()
    return replace(release, images={code: replace(image, digest=digest)})


@pytest.mark.skipif(why_no_registry() is not None, reason=str(why_no_registry()))
def test_the_registry_knows_what_is_unfinished_and_what_can_run_again(tmp_path):
    """Records are resumed from it; a rollback needs its image there, under its digest."""
    with running_ecr(tmp_path / "ecr") as door, delivery_lab.running(tmp_path) as lab:
        lab.host = door.registry
        lab.text = lab.text.replace(delivery_lab.HOST, door.registry)
        lab.environ = dict(door.environ)
        lab.change(lambda folder: [
            path.write_text(path.read_text().replace(delivery_lab.HOST, door.registry))
            for path in folder.rglob("*.yaml")
        ])  # fmt: skip
        context = lab.context()
        delivery = lab.delivery(context)
        registry = Registry(delivery.registry.address, context.environ)
        records = means.releases(context, delivery)
        repositories.ensure(registry, delivery.registry.releases, 7, "x", fix=False)
        made = [published(registry, lab.release(at), "das") for at in (1, 2)]
        for each in made:
            records.write_release(each)
            outcome = resuming.resume(context, delivery, records, delivery_lab.MEANS)
            assert outcome.status == "resumed"
        assert made[1].images["das"].pin in lab.file("das")
        assert bumping.find_release(records, made[0].tag) == made[0]

        why_not = means.why_not_again(context, delivery)
        assert why_not(made[0].images["das"]) is None
        other = replace(made[0].images["das"], digest="sha256:" + "0" * 64)
        assert "under this tag" in why_not(other)
        registry.delete("cloudopshub-das", [made[0].images["das"].digest])
        das = catalogue.find(context.catalogue, "das")
        back = moves.rolling_back(
            das, "staging", context.now(), tag=None, reason="it leaks", why_not=why_not
        )
        with pytest.raises(Refused, match="does not have it any more"):
            moves.hand_over(context, delivery, "staging", back, delivery_lab.MEANS)


def test_a_registry_that_cannot_be_asked_does_not_stop_a_rollback(lab):
    """On a laptop without credentials it is told, and the way back stays open."""
    context = lab.context(AWS_EC2_METADATA_DISABLED="true", ECR_REGISTRY="")
    ref = lab.image("das", "1-a")
    assert (
        means.why_not_again(context, lab.delivery(context))(replace(ref, repository="x/y")) is None
    )
    assert "not verified" in context.screen.stream.getvalue()


def command(context, name, *argv):
    """What `python -m ci NAME ARGV` does once the context is made."""
    return cli.call(name, argv, context)


class Recorded:
    """A registry with the records of these releases."""

    def __init__(self, *releases):
        self.releases = {each.tag: each for each in releases}

    def release_tags(self):
        return list(self.releases)

    def read_release(self, tag):
        return self.releases.get(tag)


@pytest.fixture
def records(lab, monkeypatch):
    """The records that the commands find: of the first three commits."""
    found = Recorded(*(lab.release(at) for at in (0, 1, 2)))
    monkeypatch.setattr(means, "releases", lambda *_: found)
    return found


def forged(lab, **other):
    """`ci bump` of a release.json that somebody else wrote into the workspace."""
    context = lab.context(at=1)
    context.handed_on.mkdir(parents=True, exist_ok=True)
    release = json.dumps(lab.release(1).to_json() | other)
    (context.handed_on / "release.json").write_text(release)
    with pytest.raises(Refused) as refused:
        command(context, "bump")
    assert len(lab.log()) == 1
    return refused.value.status


@pytest.mark.usefixtures("records")
def test_a_release_that_was_written_by_a_test_is_not_handed_over(lab):
    """What lies in the workspace must be what the registry has on record, to the letter."""
    foreign = f"evil.example/cloudopshub-das:1@sha256:{'0' * 64}"
    assert forged(lab, images={"das": foreign}) == "other_release"
    assert forged(lab, run_id="another") == "other_release"
    assert forged(lab, tag="102-00000000") == "no_release"
    assert forged(lab, tag="../../cloudopshub-das/manifests/1") == "no_release"
    assert forged(lab, source_commit=lab.commits[2]) == "stale_release"


def test_a_record_of_foreign_images_is_not_handed_over_either(lab, records):
    """Images come from the repository that `push` writes to, and from nowhere else."""
    foreign = replace(lab.image("das", "1"), repository="evil.example/cloudopshub-das")
    bad = replace(lab.release(1), tag="bad", images={"das": foreign})
    records.releases["bad"] = bad
    with pytest.raises(Refused, match="evil") as refused:
        command(lab.context(at=1), "bump", "--release", "bad")
    assert refused.value.status == "other_registry"
    assert lab.server.requests == []


@pytest.mark.usefixtures("records")
def test_a_release_goes_its_way_by_the_commands(lab):
    """Bump, promote, roll back, release, and what status says of it in the end."""
    for at in (1, 2):
        context = lab.context(at=at)
        context.handed_on.mkdir(parents=True, exist_ok=True)
        file = context.handed_on / "release.json"
        file.write_text(json.dumps(lab.release(at).to_json()))
        assert command(context, "bump").status == "bumped"
    context = lab.context()
    assert command(context, "promote", "staging", "production").status == "promoted"
    with pytest.raises(Refused, match="written by `bump`"):
        command(context, "promote", "production", "staging")
    outcome = command(context, "rollback", "das-service", "--reason", "it leaks")
    assert outcome.status == "rolled_back"
    told = command(context, "status", "--environment", "staging").text
    assert f"das      {lab.release(1).tag}" in told
    assert "held: it leaks" in told
    assert "production" not in told
    dry = command(lab.context(dry_run=True), "release", "das")
    assert "Release-das: released by" in dry.text
    assert command(context, "release", "das").status == "released"
    assert "held" not in command(context, "status").text


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("argv", [["bump"], ["bump", "--release", "TAG"], ["resume"]])
def test_a_dry_run_needs_no_build_server(lab, argv):
    """A person on a laptop sees what the newest release would change; nothing is written."""
    context = lab.context(dry_run=True, BRANCH_NAME="", BUILD_NUMBER="", JOB_NAME="")
    argv = [lab.release(1).tag if word == "TAG" else word for word in argv]
    outcome = command(context, *argv)
    if argv == ["bump"]:
        assert lab.release(0).tag in outcome.text
    assert outcome.status in {"bumped", "nothing"}
    assert len(lab.log()) == 1
    with pytest.raises(Refused, match="nobody publishes by hand"):
        command(replace(context, dry_run=False), *argv)


@pytest.mark.parametrize("name", ["bump", "resume"])
def test_a_pull_request_gets_nowhere_by_any_command(lab, name):
    """The first thing that is looked at."""
    with pytest.raises(Refused, match="pull request 7"):
        command(lab.context(CHANGE_ID="7"), name)
    assert lab.server.requests == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"CHANGE_ID": "7"}, "pull request 7"),
        ({"TAG_NAME": "main"}, "tag 'main'"),
        ({"BRANCH_NAME": "feature/x"}, "branch 'feature/x'"),
    ],
)
@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("promote", ["staging", "production"]),
        ("rollback", ["das"]),
        ("release", ["das"]),
        ("retention", ["--delete"]),
    ],
)
def test_what_people_decide_is_not_decided_in_a_build_of_others(lab, name, argv, environ, said):
    """Whatever the person's rights are: not by what nobody has merged yet."""
    with pytest.raises(Refused, match=said):
        command(lab.context(**environ), name, *argv)
    assert lab.server.requests == []


def test_status_names_a_service_whose_file_is_missing(lab):
    """The others are told all the same."""
    lab.bump(1)
    lab.change(lambda folder: (folder / "environments/staging/ui-service.yaml").unlink())
    told = command(lab.context(), "status", "--environment", "staging")
    services = told.facts["environments"]["staging"]["services"]
    assert "ui-service.yaml" in services["ui"]["problem"]
    assert services["das"]["problem"] is None
