"""What is in the registry beyond images: release records and manifests, over the /v2/ API.

A release record says that a set is whole. It is an OCI image manifest without an image:

    artifactType  application/vnd.cloudopshub.release.v1
    config        the empty descriptor, {}
    layers        one: release.json
    tag           the release's, in a repository of its own, immutable as all others

Source: OCI image specification 1.1, "Guidelines for artifact usage"; OCI distribution
specification 1.1, "Pushing a blob monolithically: POST then PUT", which ECR has as well.
"""

import contextlib
import hashlib
import ipaddress
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import httpx

from ci.errors import CiError, Defect, OutsideFault, Refused
from ci.model import TAG, Release
from ci.tools.ecr import MANIFESTS, Login, Registry

RELEASE_TYPE = "application/vnd.cloudopshub.release.v1"
RELEASE_LAYER = "application/vnd.cloudopshub.release.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
TRIES, PAUSE_S, TIMEOUT_S = 3, 0.5, 30.0

Json = dict[str, Any]


def base_url(host: str) -> str:
    """Where a registry's API is: plain HTTP on this machine, TLS anywhere else."""
    name = host.rpartition(":")[0] or host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(name.strip("[]")).is_loopback:
            return f"http://{host}"
    return f"http://{host}" if name == "localhost" else f"https://{host}"


class Distribution:
    """The /v2/ API of one registry, logged in."""

    def __init__(self, login: Login, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=base_url(login.host),
            auth=(login.username, login.password),
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=not base_url(login.host).startswith("http://"),
        )

    def close(self) -> None:
        """Its connections are closed."""
        self._client.close()

    def manifest(self, repository: str, reference: str) -> tuple[str, Json] | None:
        """Digest and content of a manifest, by tag or digest; None when it is not there."""
        accept = [("Accept", media_type) for media_type in MANIFESTS]
        answer = self._call("GET", f"/v2/{repository}/manifests/{reference}", headers=accept)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        body = _good(answer, f"reading {repository}:{reference}").content
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if reference.startswith("sha256:") and digest != reference:
            raise Defect(f"{repository}@{reference}: the registry sent {digest}")
        return digest, _json(body, f"{repository}:{reference}")

    def blob(self, repository: str, digest: str) -> bytes:
        """A small blob, its digest checked."""
        path = f"/v2/{repository}/blobs/{digest}"
        answer = _good(self._call("GET", path, follow_redirects=True), f"reading {digest}")
        if f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != digest:
            raise Defect(f"{repository}: blob {digest} has other content")
        return answer.content

    def config(self, repository: str, manifest: Mapping[str, Any]) -> Json:
        """An image's configuration: labels, entry, user."""
        body = self.blob(repository, manifest["config"]["digest"])
        return _json(body, f"configuration in {repository}")

    def put_blob(self, repository: str, body: bytes) -> Json:
        """The blob is in the repository; its descriptor without a media type."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        there = self._call("HEAD", f"/v2/{repository}/blobs/{digest}", follow_redirects=True)
        if there.status_code != httpx.codes.OK:
            what = f"uploading to {repository}"
            begun = _good(self._call("POST", f"/v2/{repository}/blobs/uploads/"), what)
            where = urljoin(str(begun.url), begun.headers["Location"])
            where += ("&" if "?" in where else "?") + f"digest={digest}"
            headers = [("Content-Type", "application/octet-stream")]
            _good(self._call("PUT", where, content=body, headers=headers), what)
        return {"digest": digest, "size": len(body)}

    def put_manifest(self, repository: str, reference: str, manifest: Mapping[str, Any]) -> str:
        """The manifest is in the repository; its digest. `Refused` (tag_taken) when immutable."""
        body = json.dumps(manifest, separators=(",", ":")).encode()
        answer = self._call(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            content=body,
            headers=[("Content-Type", str(manifest["mediaType"]))],
        )
        if answer.status_code == httpx.codes.BAD_REQUEST and "immutable" in answer.text:
            raise Refused(f"{repository}:{reference} is there already", status="tag_taken")
        _good(answer, f"writing {repository}:{reference}")
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def _call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """The answer; what breaks or says 5xx is asked again: all of this may be repeated."""
        for left in reversed(range(TRIES)):
            try:
                answer = self._client.request(method, path, **given)
            except httpx.HTTPError as exc:
                if left == 0:
                    raise OutsideFault(f"{method} {path.partition('?')[0]}: {exc!r}") from exc
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or left == 0:
                    return answer
            time.sleep(PAUSE_S)
        raise AssertionError("the last try returns or raises")


class Releases:
    """The release records of one registry. repository: where they are kept."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry, self._repository = registry, repository

    def write_release(self, release: Release) -> str:
        """The record is in the registry; its digest. An equal one is success, another `Refused`."""
        body = json.dumps(release.to_json(), sort_keys=True, indent=1).encode()
        with self._api() as api:
            if (recorded := self._read(api, release.tag)) is not None:
                return self._must_equal(recorded, release)
            api.put_blob(self._repository, EMPTY)
            layer = api.put_blob(self._repository, body)
            empty = f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": RELEASE_TYPE,
                "config": {"mediaType": EMPTY_TYPE, "digest": empty, "size": len(EMPTY)},
                "layers": [{"mediaType": RELEASE_LAYER} | layer],
                "annotations": {
                    "org.opencontainers.image.created": release.committed_at.isoformat(),
                    "org.opencontainers.image.revision": release.source_commit,
                },
            }
            try:
                return api.put_manifest(self._repository, release.tag, manifest)
            except Refused as refused:
                recorded = self._read(api, release.tag) if refused.status == "tag_taken" else None
                if recorded is None:
                    raise
                return self._must_equal(recorded, release)

    def read_release(self, tag: str) -> Release | None:
        """The record with that tag; None when there is none, or it is no tag."""
        if not TAG.fullmatch(tag):
            return None
        with self._api() as api:
            recorded = self._read(api, tag)
        return recorded[1] if recorded else None

    def release_tags(self) -> list[str]:
        """Tags of all records, the one written last first."""
        return [tag for image in self._registry.images(self._repository) for tag in image.tags]

    def _read(self, api: Distribution, tag: str) -> tuple[str, Release] | None:
        stored = api.manifest(self._repository, tag)
        if stored is None:
            return None
        digest, manifest = stored
        if manifest.get("artifactType") != RELEASE_TYPE or len(manifest.get("layers", ())) != 1:
            raise Refused(f"{self._repository}:{tag} is no release record", status="no_record")
        body = api.blob(self._repository, manifest["layers"][0]["digest"])
        try:
            release = Release.from_json(_json(body, f"release {tag}"))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise Defect(f"{self._repository}:{tag} is no release record: {exc!r}") from exc
        if release.tag != tag:
            text = f"{self._repository}:{tag} is the record of release {release.tag!r}"
            raise Refused(text, status="no_record")
        return digest, release

    def _must_equal(self, recorded: tuple[str, Release], release: Release) -> str:
        digest, stored = recorded
        if stored.to_json() != release.to_json():
            raise Refused(
                f"release {release.tag} is recorded already, and says otherwise:\n"
                f"  recorded {json.dumps(stored.to_json(), sort_keys=True)}\n"
                f"  now      {json.dumps(release.to_json(), sort_keys=True)}",
                status="other_release",
            )
        return digest

    @contextlib.contextmanager
    def _api(self) -> Iterator[Distribution]:
        api = Distribution(self._registry.login())
        try:
            yield api
        finally:
            api.close()


def _json(body: bytes, what: str) -> Json:
    try:
        parsed = json.loads(body)
    except ValueError as exc:
        raise Defect(f"{what}: no JSON: {exc}") from exc
    if not isinstance(parsed, dict):
        raise Defect(f"{what}: no JSON object")
    return parsed


def _good(answer: httpx.Response, what: str) -> httpx.Response:
    """`answer`, when it is a good one."""
    if answer.is_success:
        return answer
    text = f"{what}: HTTP {answer.status_code} {answer.text[:300].strip()}"
    kind: type[CiError] = Refused
    # 401, expired: the login's hours are over; a new run logs in again
    passing = answer.status_code in {401, 408, 429} or "token has expired" in answer.text
    if passing or answer.is_server_error:
        kind = OutsideFault
    raise kind(text, status="registry_refused" if kind is Refused else None)
