"""Retention against a real manifest repository and the ECR-shaped door."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_platform import SmallPlatform, why_no_registry

from ci.bump import ledger
from ci.bump.ledger import Delivered, Entry
from ci.errors import Refused
from ci.model import ImageRef, Release
from ci.push import repositories
from ci.retention import prune
from ci.tests.lab.ecr_door import LocalEcr, running_ecr
from ci.tools.ecr import Registry
from ci.tools.oci import MANIFEST_TYPE, Distribution, Releases

pytestmark = pytest.mark.skipif(why_no_registry() is not None, reason=str(why_no_registry()))
TAGS = ("1-a", "2-b", "3-c", "4-d", "5-e")
RELEASES = "cloudopshub-releases"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[LocalEcr]:
    with running_ecr(tmp_path / "ecr") as opened:
        yield opened


@pytest.fixture
def registry(door: LocalEcr) -> Registry:
    registry = Registry(door.registry, door.environ)
    for name in ("cloudopshub-one", "cloudopshub-two", RELEASES):
        repositories.ensure(registry, name, 7, TAGS[0], fix=False)
    return registry


@pytest.fixture
def images(registry: Registry, door: LocalEcr) -> dict[str, ImageRef]:
    """Five images of service one, oldest first, each with its release record."""
    api, made = Distribution(registry.login()), {}
    for tag in TAGS:
        layer = api.put_blob("cloudopshub-one", tag.encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | layer,
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar"} | layer],
        }
        digest = api.put_manifest("cloudopshub-one", tag, manifest)
        made[tag] = ImageRef(f"{door.registry}/cloudopshub-one", tag, digest)
        at = datetime(2026, 1, 1, tzinfo=UTC)
        release = Release(tag, tag, tag[0], None, COMMIT, None, at, {"one": made[tag]})
        Releases(registry, RELEASES).write_release(release)
    api.close()
    return made


@pytest.fixture
def manifests(tmp_path: Path) -> SmallPlatform:
    made = SmallPlatform(tmp_path / "manifests", {})
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit({"README.md": "nothing delivered yet\n"})
    return made


@pytest.fixture
def platform(tmp_path: Path, door: LocalEcr, manifests: SmallPlatform) -> SmallPlatform:
    environ = door.environ | {"MANIFEST_REPO_URL": f"file://{manifests.root}"}
    return SmallPlatform.make(tmp_path / "hub", environ)


def deliver(manifests: SmallPlatform, image: ImageRef) -> None:
    (manifests.root / "one.yaml").write_text(f"image: {image}\n")
    entry = Entry("staging", "bump", f"run-{image.tag}", [Delivered("one", image, COMMIT)])
    manifests.git("add", "--all")
    manifests.git("commit", "--quiet", "--message", ledger.message(entry))


def run(platform: SmallPlatform, *, delete=False, dry_run=False, rollbacks=1, later_days=100):
    later = datetime.now(UTC) + timedelta(days=later_days)
    context = replace(platform.context(dry_run=dry_run), now=lambda: later)
    delivery = platform.delivery()
    return prune.main(
        context,
        replace(delivery, registry=replace(delivery.registry, keep=0)),
        rollbacks=rollbacks,
        age=timedelta(days=14),
        delete=delete,
    )


def left(registry: Registry, name: str = "cloudopshub-one") -> set[str]:
    return {tag for image in registry.images(name) for tag in image.tags}


def test_what_nothing_names_goes_and_its_record_with_it(
    registry, images, manifests, platform
) -> None:
    """1 and 5 are only in a note, 3 ran before 4; 2 alone may go, when told to."""
    for tag in ("2-b", "3-c", "4-d"):
        deliver(manifests, images[tag])
    manifests.commit({"notes.md": f"Do not lose 1-a ({images['5-e'].digest}).\n"})
    for given in ({}, {"delete": True, "dry_run": True}):
        listed = run(platform, **given)
        assert listed.status == "found"
        assert [each["tags"] for each in listed.facts["going"]] == [["2-b"], ["2-b"]]
        assert left(registry) == set(TAGS)
    assert run(platform, delete=True).status == "deleted"
    assert left(registry) == left(registry, RELEASES) == set(TAGS) - {"2-b"}
    assert run(platform, delete=True).status == "nothing"


def test_another_branch_is_a_manifest_too(registry, images, manifests, platform) -> None:
    """An Application may follow another branch: what is named there, in any encoding, stays."""
    for tag in ("3-c", "4-d"):
        deliver(manifests, images[tag])
    manifests.git("checkout", "--quiet", "-b", "hotfix/x")
    manifests.commit({"kustomization.yaml": f"images:\n  - digest: {images['1-a'].digest}\n"})
    (manifests.root / "wide.yaml").write_bytes("newTag: 2-b".encode("utf-16"))
    manifests.commit({})
    manifests.git("checkout", "--quiet", "main")
    assert run(platform, delete=True).status == "deleted"
    assert left(registry) == set(TAGS) - {"5-e"}


def test_young_images_stay(registry, images, manifests, platform) -> None:
    """A release may be on its way to its first manifest."""
    deliver(manifests, images["1-a"])
    assert run(platform, delete=True, later_days=1).status == "nothing"
    assert left(registry) == set(TAGS)


def test_a_repository_that_tells_of_no_delivery_is_not_believed(
    registry, images, manifests, platform
) -> None:
    """A wrong address would otherwise empty the registry."""
    with pytest.raises(Refused, match="is it the right one") as refused:
        run(platform, delete=True)
    assert refused.value.status == "no_delivery"
    assert left(registry) == set(TAGS)
    platform.environ["MANIFEST_REPO_URL"] = ""
    with pytest.raises(Refused, match="set MANIFEST_REPO_URL") as refused:
        run(platform, delete=True)
    assert refused.value.status == "unconfigured"
    assert left(registry) == set(TAGS)


def test_a_deletion_that_aws_denies_is_refused_by_name(
    registry, images, manifests, platform, door
) -> None:
    """The permission that is missing is told; the facts stay JSON."""
    deliver(manifests, images["5-e"])
    door.inject("ecr/BatchDeleteImage", status=400, code="AccessDeniedException")
    with pytest.raises(Refused, match="ecr:BatchDeleteImage") as refused:
        run(platform, delete=True, rollbacks=0)
    assert json.dumps(refused.value.facts)
    assert left(registry) == set(TAGS)
