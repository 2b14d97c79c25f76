"""What the commands join: a chart rendered by Helm, what earlier stages left, the configuration."""

import json
import os
import secrets
from dataclasses import replace
from pathlib import Path

import delivery_lab
import direct_call
import pytest
from small_platform import why_no_registry

from ci import config
from ci import promote as moves
from ci.bump import bumping, handshake
from ci.errors import CiError, Refused
from ci.plan import facts
from ci.tests.lab.ecr_door import running_ecr
from ci.tools import helm
from ci.tools.ecr import Registry

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
    unpacked = helm.find(ROOT / ".cache", os.environ)  # else each lab unpacks its own 120 MB
    context = lab.context(at=1, HELM=str(unpacked.helm), KUBECTL=str(unpacked.kubectl))
    delivery = lab.delivery(context)
    return bumping.deliver(context, delivery, lab.release(1), handshake.real(context, delivery))


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


needs_registry = pytest.mark.skipif(why_no_registry() is not None, reason=str(why_no_registry()))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with running_ecr(tmp_path_factory.mktemp("ecr")) as door:
        yield door


@pytest.fixture
def door(lab, opened):
    """The registry that the lab's images are in. No two tests have a tag in common."""
    lab.at_registry(opened)
    lab.first_build = 1 + secrets.randbelow(10**9)
    return opened


def registry(door):
    return Registry(door.registry, door.environ)


def build_of(lab, at):
    return lab.first_build + at


def pushed(lab, door, at=1, **environ):
    """A context at that commit, and the release that `push` of its build has left in it."""
    build = build_of(lab, at)
    context = lab.context(at=at, build=build, **environ)
    release = lab.published(registry(door), at, build=build)
    leave(context, release.to_json())
    return context, release


def leave(context, release):
    context.handed_on.mkdir(parents=True, exist_ok=True)
    (context.handed_on / "release.json").write_text(json.dumps(release))


def command(context, name, *argv):
    """What `python -m ci NAME ARGV` does once the context is made."""
    return direct_call.call(name, argv, context)


def refusal(lab, context, *argv):
    """The status that `ci bump` is refused with; no commit was made."""
    before = lab.log()
    with pytest.raises(Refused) as refused:
        command(context, "bump", *argv)
    assert lab.log() == before
    return refused.value.status


@needs_registry
def test_the_release_of_this_build_is_taken(lab, door):
    """As `push` left it and the registry has it; the summary shows what became of it."""
    context, release = pushed(lab, door)
    outcome = command(context, "bump")
    assert outcome.status == "bumped"
    assert release.images["das"].pin in lab.file("das")
    headline = f"3 services → staging {release.tag}, commit {lab.log()[0][:7]}"
    assert outcome.text.splitlines()[0] == headline


@needs_registry
def test_a_release_left_from_another_build_is_refused(lab, door):
    """A workspace may hold what an earlier build, or a test of this one, left there."""
    context, release = pushed(lab, door)
    ours = release.to_json()
    for other in (
        {"run_id": "another"},
        {"tag": "102-00000000"},
        {"tag": "../../cloudopshub-das/manifests/1"},
        {"source_commit": lab.commits[2]},
        {"committed_at": "2030-01-01T00:00:00+00:00"},
    ):
        leave(context, ours | other)
        assert refusal(lab, context) == "stale_release"


@needs_registry
def test_an_image_that_is_not_the_one_in_the_registry_is_refused(lab, door):
    """Neither one of elsewhere, nor another of ours, nor another digest, nor one never pushed."""
    context, release = pushed(lab, door)
    das = release.images["das"]
    ui = replace(release.images["ui"], tag="1-x")
    for code, image, status in (
        ("das", replace(das, repository="evil.example/cloudopshub-das"), "other_registry"),
        ("das", release.images["dis"], "other_registry"),
        ("none", das, "other_registry"),
        ("ui", ui, "other_registry"),
        ("das", replace(das, digest="sha256:" + "0" * 64), "digest_mismatch"),
        ("das", replace(das, digest=None), "digest_mismatch"),
    ):
        leave(context, release.to_json() | {"images": {code: str(image)}})
        assert refusal(lab, context) == status
    registry(door).client.batch_delete_image(
        repositoryName="cloudopshub-das", imageIds=[{"imageTag": das.tag}]
    )
    leave(context, release.to_json())
    assert refusal(lab, context) == "digest_mismatch"


def test_a_release_that_is_missing_is_no_reason_to_be_content(lab):
    """A lost file would otherwise be a lost delivery."""
    assert refusal(lab, lab.context(at=1)) == "no_release"


def test_a_plan_without_images_has_nothing_to_hand_over(lab):
    """Even where an earlier build left its release."""
    context = lab.context(at=1)
    leave(context, lab.release(0).to_json())
    plan = {
        "commit": lab.commits[1], "run_id": "r", "tag": None, "may_not_publish": None,
        "lint": "", "parts": [],
    }  # fmt: skip
    (context.handed_on / "plan.json").write_text(json.dumps(plan))
    assert command(context, "bump").status == "nothing"


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
        bumping.deliver(context, delivery, lab.release(1), delivery_lab.MEANS)
    assert refused.value.status == "unconfigured"


@needs_registry
def test_a_rollback_needs_its_image_in_the_registry(lab, door):
    """Under its tag, and with its digest."""
    releases = [lab.published(registry(door), at, build=build_of(lab, at)) for at in (1, 2)]
    context = lab.context()
    delivery = lab.delivery(context)
    for release in releases:
        bumping.deliver(context, delivery, release, delivery_lab.MEANS)
    image = releases[0].images["das"]
    why_not = moves.why_not_again(context, delivery)
    assert why_not(image) is None
    assert "under this tag" in why_not(replace(image, digest="sha256:" + "0" * 64))
    registry(door).client.batch_delete_image(
        repositoryName="cloudopshub-das", imageIds=[{"imageDigest": image.digest}]
    )
    with pytest.raises(Refused, match="does not have it any more"):
        command(lab.context(), "rollback", "das")


def test_a_registry_that_cannot_be_asked_does_not_stop_a_rollback(lab):
    """On a laptop without credentials it is told, and the way back stays open."""
    context = lab.context(AWS_EC2_METADATA_DISABLED="true", ECR_REGISTRY="")
    ref = lab.image("das", "1-a")
    assert (
        moves.why_not_again(context, lab.delivery(context))(replace(ref, repository="x/y")) is None
    )
    assert "not verified" in context.screen.stream.getvalue()


@needs_registry
def test_a_release_goes_its_way_by_the_commands(lab, door):
    """Bump, promote, roll back, release, and what status says of it in the end."""
    releases = []
    for at in (1, 2):
        context, release = pushed(lab, door, at)
        releases.append(release)
        assert command(context, "bump").status == "bumped"
    context = lab.context()
    assert command(context, "promote", "staging", "production").status == "promoted"
    with pytest.raises(Refused, match="written by `bump`"):
        command(context, "promote", "production", "staging")
    outcome = command(context, "rollback", "das-service", "--reason", "it leaks")
    assert outcome.status == "rolled_back"
    told = command(context, "status", "--environment", "staging").text
    assert f"das      {releases[0].tag}" in told
    assert "held: it leaks" in told
    assert "production" not in told
    dry = command(lab.context(dry_run=True), "release", "das")
    assert "Release-das: released by" in dry.text
    assert command(context, "release", "das").status == "released"
    assert "held" not in command(context, "status").text


LAPTOP = {"BRANCH_NAME": "", "BUILD_NUMBER": "", "JOB_NAME": ""}


@needs_registry
def test_a_dry_run_needs_no_build_server(lab, door):
    """A person on a laptop sees what a release would change; nothing is written."""
    _, release = pushed(lab, door)
    context = lab.context(dry_run=True, **LAPTOP)
    outcome = command(context, "bump")
    assert outcome.status == "bumped"
    assert f"+  tag: '{release.images['das'].pin}'" in outcome.text
    assert outcome.text.splitlines()[0] == (
        f"3 services → staging {release.tag}; a dry run, nothing is written"
    )
    assert refusal(lab, replace(context, dry_run=False)) == "may_not_publish"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_pull_request_gets_nowhere_by_any_command(lab, dry_run):
    """The first thing that is looked at, also where nothing would be written."""
    with pytest.raises(Refused, match="pull request 7"):
        command(lab.context(CHANGE_ID="7", dry_run=dry_run), "bump")
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
