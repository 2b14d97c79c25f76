"""The registry tools against the ECR-shaped door: moto's API, a real registry, no Docker."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import httpx
import pytest
import registry_images
from registry_images import MANIFEST_TYPE
from small_platform import SmallPlatform, why_no_registry

from ci import push as publish
from ci import scan as commands
from ci.errors import OutsideFault, Refused
from ci.model import ImageRef, Release
from ci.tests.lab.ecr_control import ScanStory
from ci.tests.lab.ecr_door import LocalEcr, running_ecr
from ci.tools.ecr import Registry

pytestmark = pytest.mark.skipif(why_no_registry() is not None, reason=str(why_no_registry()))
TAG = "118-1a2b3c4d"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEcr]:
    with running_ecr(tmp_path_factory.mktemp("ecr")) as door:
        yield door


@pytest.fixture(scope="module")
def client(opened: LocalEcr):
    return ecr(opened)


@pytest.fixture(scope="module")
def only_registry(opened: LocalEcr) -> Registry:
    return Registry(opened.registry, opened.environ)  # a client of boto3 takes 0.3 s to make


@pytest.fixture
def door(opened: LocalEcr, client) -> Iterator[LocalEcr]:
    yield opened
    opened.faults.clear()
    opened.scans.clear()
    for repository in client.describe_repositories()["repositories"]:
        client.delete_repository(repositoryName=repository["repositoryName"], force=True)


@pytest.fixture
def registry(door: LocalEcr, only_registry: Registry) -> Registry:
    return only_registry


def ecr(door: LocalEcr):
    environ = door.environ
    return boto3.client(
        "ecr",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )


def push(registry: Registry, name: str = "hub", tag: str = TAG, content: bytes = b"one") -> str:
    return registry_images.push(registry, name, tag, content)


def release(door: LocalEcr, **images: str) -> Release:
    return Release(
        run_id="hub-118",
        tag=TAG,
        build="118",
        build_url=None,
        source_commit="1a2b3c4d" * 5,
        source_repo=None,
        committed_at=datetime(2026, 5, 1, tzinfo=UTC),
        images={c: ImageRef(f"{door.registry}/hub", TAG, d) for c, d in images.items()},
    )


def test_a_repository_that_is_missing_or_mutable_is_refused_until_it_is_mended(
    registry: Registry, client
) -> None:
    """The refusal names the command of `aws` that mends it; what that makes is taken."""
    with pytest.raises(Refused, match="aws ecr create-repository --repository-name hub") as refused:
        publish.refuse_mutable(registry, "hub", TAG)
    assert refused.value.status == "no_repository"
    client.create_repository(repositoryName="hub")
    with pytest.raises(Refused, match="aws ecr put-image-tag-mutability") as refused:
        publish.refuse_mutable(registry, "hub", TAG)
    assert refused.value.status == "mutable_repository"
    client.put_image_tag_mutability(repositoryName="hub", imageTagMutability="IMMUTABLE")
    publish.refuse_mutable(registry, "hub", TAG)


def test_an_image_is_found_by_tag_with_its_true_digest(registry: Registry, door: LocalEcr) -> None:
    """API and data plane agree on the digest: the manifest's own SHA-256; sizes add up."""
    door.create_repository("hub")
    assert registry.find("hub", TAG) is None
    assert registry.find("nowhere", TAG) is None
    digest = push(registry)
    assert registry.find("hub", TAG) == digest
    served = registry_images.manifest_of(registry, "hub", TAG)
    assert f"sha256:{hashlib.sha256(served.content).hexdigest()}" == digest
    described = ecr(door).describe_images(repositoryName="hub")["imageDetails"][0]
    assert described["imageSizeInBytes"] == len(b"one") + len(b"{}")


def test_a_tag_never_changes(registry: Registry, door: LocalEcr) -> None:
    """Other content, and even the same again, is refused in ECR's words."""
    door.create_repository("hub")
    push(registry)
    for content in (b"other", b"one"):
        answer = registry_images.put(registry, "hub", TAG, content)
        assert answer.status_code == 400
        assert "immutable" in answer.text


def test_the_api_calls_a_taken_tag_by_awss_name(registry: Registry, door: LocalEcr, client) -> None:
    """PutImage under a taken tag: another image and the same one have two names at AWS."""
    door.create_repository("hub")
    push(registry)
    stored = client.batch_get_image(repositoryName="hub", imageIds=[{"imageTag": TAG}])
    manifest = stored["images"][0]["imageManifest"]
    for text, name in (
        (manifest, "ImageAlreadyExistsException"),
        (manifest.replace("{", "{ ", 1), "ImageTagAlreadyExistsException"),
    ):
        with pytest.raises(getattr(client.exceptions, name)):
            client.put_image(repositoryName="hub", imageManifest=text, imageTag=TAG)


def test_the_door_lets_nobody_in_without_a_token(registry: Registry, door: LocalEcr) -> None:
    """No login, a wrong one, one of yesterday: 401 with a challenge; an unknown name: 404."""
    url = f"http://{door.registry}/v2/"
    login = registry.login()
    assert httpx.get(url, timeout=600).status_code == 401
    assert "Basic" in httpx.get(url, auth=("AWS", "guess"), timeout=600).headers["WWW-Authenticate"]
    assert httpx.get(url, auth=(login.username, login.password), timeout=600).status_code == 200
    unknown = httpx.get(f"{url}hub/tags/list", auth=(login.username, login.password), timeout=600)
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    door.control.forget_tokens()
    assert httpx.get(url, auth=(login.username, login.password), timeout=600).status_code == 401
    assert registry.login().password != login.password


def test_accept_headers_arrive_one_by_one(registry: Registry, door: LocalEcr) -> None:
    """The same manifest is served to whoever lists the types in one header or in several."""
    door.create_repository("hub")
    digest = push(registry)
    login = registry.login()
    for headers in (
        [("Accept", MANIFEST_TYPE), ("Accept", "application/json")],
        [("Accept", f"application/json, {MANIFEST_TYPE}")],
    ):
        answer = httpx.get(
            f"http://{door.registry}/v2/hub/manifests/{TAG}",
            headers=headers,
            auth=(login.username, login.password),
            timeout=600,
        )
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest


def test_an_index_is_stored_with_its_own_digest(registry: Registry, door: LocalEcr) -> None:
    """A manifest list, and its children by digest, are images too."""
    door.create_repository("hub")
    child = push(registry, tag="child")
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST_TYPE, "digest": child, "size": 1}],
    }
    answer = registry_images.put_manifest(registry, "hub", TAG, index)
    assert registry.find("hub", TAG) == answer.headers["Docker-Content-Digest"]


def test_a_large_layer_flows_through(registry: Registry, door: LocalEcr) -> None:
    """Chunked uploads of many pieces arrive whole."""
    door.create_repository("hub")
    login, piece = registry.login(), bytes(range(256)) * 4096
    whole = hashlib.sha256(piece * 24).hexdigest()
    auth = (login.username, login.password)
    with httpx.Client(base_url=f"http://{door.registry}", auth=auth, timeout=60) as client:
        begun = client.post("/v2/hub/blobs/uploads/")
        sent = client.patch(begun.headers["Location"], content=(piece for _ in range(24)))
        assert sent.status_code == 202, sent.text
        done = client.put(f"{sent.headers['Location']}&digest=sha256:{whole}")
        assert done.status_code == 201, done.text
        read = client.get(f"/v2/hub/blobs/sha256:{whole}")
        assert hashlib.sha256(read.content).hexdigest() == whole


def test_deleted_images_are_gone_from_both_planes(registry: Registry, door: LocalEcr) -> None:
    """What the API deletes can be pulled no longer; the rest stays."""
    door.create_repository("hub")
    first, _ = push(registry, tag="1-a"), push(registry, tag="2-b", content=b"two")
    registry.client.batch_delete_image(repositoryName="hub", imageIds=[{"imageDigest": first}])
    assert registry.find("hub", "1-a") is None
    assert registry_images.manifest_of(registry, "hub", "1-a").status_code == 404
    assert registry_images.manifest_of(registry, "hub", "2-b").is_success


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ({"status": 400, "code": "AccessDeniedException"}, Refused, "not_allowed"),
        ({"status": 400, "code": "UnrecognizedClientException"}, Refused, "not_allowed"),
        ({"status": 400, "code": "ExpiredTokenException"}, OutsideFault, "outside_fault"),
        ({"status": 400, "code": "InvalidParameterException"}, Refused, "registry_refused"),
        ({"status": 503}, OutsideFault, "outside_fault"),
        ({"status": 400, "code": "ThrottlingException"}, OutsideFault, "throttled"),
        ({"drop": True}, OutsideFault, "outside_fault"),
    ],
    ids=["denied", "unknown key", "expired", "invalid", "503", "throttled", "dropped"],
)
def test_what_aws_says_becomes_ours(registry, door, fault, kind, status) -> None:
    """No permission is refused, with the action's name; trouble outside may be tried again."""
    door.inject("ecr/DescribeImages", times=100, **fault)
    with pytest.raises(kind, match="ecr:DescribeImages on hub") as failed:
        registry.find("hub", TAG)
    assert failed.value.status == status


def test_a_fault_that_passes_is_not_noticed(registry: Registry, door: LocalEcr) -> None:
    """One 500 and one dropped connection cost time and nothing else."""
    door.create_repository("hub")
    digest = push(registry)
    door.inject("ecr/DescribeImages", status=500)
    door.inject("ecr/DescribeImages", drop=True, skip=1)
    for _ in range(2):
        assert registry.find("hub", TAG) == digest


def test_credentials_of_another_registry_are_refused(registry: Registry, door: LocalEcr) -> None:
    """A login is for the address that images go to, or for nothing."""
    with pytest.raises(Refused, match="images go to") as refused:
        Registry("localhost:1", door.environ).login()
    assert refused.value.status == "other_registry"


def finding(number: int, severity: str = "HIGH") -> dict[str, object]:
    attributes = [
        {"key": "package_name", "value": "openssl"},
        {"key": "package_version", "value": "3.0"},
    ]
    return {"name": f"CVE-2026-{number}", "severity": severity, "attributes": attributes}


ENHANCED = {
    "severity": "CRITICAL",
    "status": "ACTIVE",
    "packageVulnerabilityDetails": {
        "vulnerabilityId": "CVE-2026-9",
        "vulnerablePackages": [{"name": "zlib", "version": "1.2", "fixedInVersion": "1.3"}],
    },
}


def test_findings_are_read_to_the_last_page(registry: Registry, door: LocalEcr) -> None:
    """More findings than a page holds, basic or enhanced; closed ones do not count."""
    door.create_repository("hub")
    digest = push(registry)
    door.scans["hub"] = ScanStory(findings=[finding(n) for n in range(2500)])
    answer = commands.ask(registry, "hub", digest)
    assert (answer.word, len(answer.findings)) == ("COMPLETE", 2500)
    assert answer.findings[0].package == "openssl"
    door.scans["hub"] = ScanStory("ACTIVE", enhanced=[ENHANCED, ENHANCED | {"status": "CLOSED"}])
    (only,) = commands.ask(registry, "hub", digest).findings
    assert (only.id, only.package, only.fixed_in) == ("CVE-2026-9", "zlib", "1.3")


@pytest.fixture
def platform(tmp_path: Path, door: LocalEcr) -> SmallPlatform:
    return SmallPlatform.make(tmp_path / "hub", door.environ)


@pytest.fixture
def published(registry: Registry, door: LocalEcr) -> Release:
    door.create_repository("hub")
    return release(door, one=push(registry))


def judged(platform: SmallPlatform, published: Release, waits: list[float] | None = None):
    slept = [] if waits is None else waits
    return commands.gate(platform.context(), platform.delivery(), published, slept.append)


def test_a_clean_scan_lets_a_release_pass(platform, published, door) -> None:
    """After two polls the scan ends without findings; the file says so."""
    door.scans["hub"] = ScanStory(after=2)
    waits: list[float] = []
    assert judged(platform, published, waits).status == "clean"
    assert len(waits) == 2
    told = json.loads((platform.root / ".cache/ci/scan.json").read_text())
    assert told["images"]["one"]["findings"] == []
    assert told["blocking"] == []


@pytest.mark.parametrize(
    ("story", "kind", "status"),
    [
        (ScanStory("NOT_FOUND"), Refused, "scan_failed"),
        (ScanStory("IN_PROGRESS"), OutsideFault, "scan_pending"),
        (ScanStory("ACTIVE", after=10**9), OutsideFault, "scan_pending"),
        (ScanStory("FAILED", description="UnsupportedImageError"), Refused, "scan_failed"),
        (ScanStory("UNSUPPORTED_IMAGE"), Refused, "scan_failed"),
    ],
    ids=["not found", "in progress", "never active", "failed", "unsupported"],
)
def test_no_answer_is_never_green(platform, published, door, story, kind, status) -> None:
    """Whether the scan still runs or gives none is told apart, and neither is `clean`."""
    toml = platform.root / "ci" / "ci.toml"
    toml.write_text(toml.read_text().replace("wait_s = 300", "wait_s = 0"))
    door.scans["hub"] = story
    with pytest.raises(kind) as failed:
        judged(platform, published)
    assert failed.value.status == status
    assert story.description in str(failed.value)
    assert json.loads((platform.root / ".cache/ci/scan.json").read_text())["blocking"] is None


def test_findings_stop_a_release_until_they_are_waived(platform, published, door) -> None:
    """A finding stops; a waiver lets it pass and is told; an expired one stops again, by name."""
    door.scans["hub"] = ScanStory(findings=[finding(1), finding(2, "LOW")])
    with pytest.raises(Refused, match="CVE-2026-1 openssl") as stopped:
        judged(platform, published)
    assert stopped.value.status == "findings"
    today = platform.context().now().date()
    file = platform.root / "ci" / "waivers.toml"
    text = '[[waiver]]\nid = "CVE-2026-1"\nreason = "not reachable"\nexpires = {}\n'
    file.write_text(text.format(today))
    assert judged(platform, published).status == "waived"
    file.write_text(text.format(today - timedelta(days=1)))
    with pytest.raises(Refused, match="CVE-2026-1: expired") as expired:
        judged(platform, published)
    assert expired.value.status == "expired_waiver"


def test_a_door_that_opens_again_remembers(tmp_path: Path) -> None:
    """Repositories, images, deletions and the port are as they were; only logins are new."""
    with running_ecr(tmp_path) as first:
        registry = Registry(first.registry, first.environ)
        first.create_repository("hub")
        digest, gone = push(registry), push(registry, tag="gone", content=b"two")
        registry.client.batch_delete_image(repositoryName="hub", imageIds=[{"imageDigest": gone}])
    with running_ecr(tmp_path) as second:
        assert second.registry == first.registry
        registry = Registry(second.registry, second.environ)
        publish.refuse_mutable(registry, "hub", TAG)
        listed = registry.client.describe_images(repositoryName="hub")["imageDetails"]
        assert [image["imageDigest"] for image in listed] == [digest]
        assert registry_images.manifest_of(registry, "hub", TAG).is_success
