"""The control plane behind the ECR-shaped door: moto's server, where it differs from AWS corrected.

what moto does                                        what is made of it
GetAuthorizationToken: a fixed token, expired in      the door answers itself: random tokens, 12 h,
  2015, for the real host name                          for its own address
digests made of layer digests                         the manifest's own SHA-256 is passed along
ImageAlreadyExistsException for an immutable tag       ImageTagAlreadyExistsException
image sizes made up                                   layers and configuration added up
BatchGetImage answers with another tag of the image   the tag that was asked for
scanOnPush starts nothing, findings stay empty         the door answers for scans, see `ScanStory`
"""

import base64
import copy
import hashlib
import http.client
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCOUNT = "000000000000"
REGION = "eu-central-1"
TARGET = "AmazonEC2ContainerRegistry_V20150921"
TOKEN_S = 12 * 3600
PAGE = 100
WRITES = {
    "CreateRepository",
    "DeleteRepository",
    "PutImage",
    "BatchDeleteImage",
    "PutLifecyclePolicy",
    "PutImageTagMutability",
    "PutImageScanningConfiguration",
}
Json = dict[str, Any]


class ApiError(Exception):
    """An error answer of the API, as AWS phrases it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status

    def body(self) -> bytes:
        """The JSON that AWS' SDKs read."""
        return json.dumps({"__type": self.code, "message": self.message}).encode()


@dataclass
class ScanStory:
    """What the door says of scans, for images that nobody scans here.

    status: COMPLETE, ACTIVE, IN_PROGRESS, PENDING, FAILED, UNSUPPORTED_IMAGE, … or NOT_FOUND.
    after: how often IN_PROGRESS is answered first. findings, enhanced: as
    DescribeImageScanFindings has them.
    """

    status: str = "COMPLETE"
    findings: list[Json] = field(default_factory=list)
    enhanced: list[Json] = field(default_factory=list)
    description: str = ""
    after: int = 0
    asked: int = 0


class ControlPlane:
    """ECR's JSON API. moto: where moto's server listens. address: the door's own host:port.

    journal: what was changed, a line each. moto forgets when it ends, so a new one is told again.
    """

    def __init__(self, moto: tuple[str, int], address: str, journal: Path) -> None:
        self._moto = moto
        self._address = address
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()
        self._journal: Path | None = None
        if journal.exists():
            for line in journal.read_text(encoding="utf-8").splitlines():
                action, given = json.loads(line)
                self.moto(action, **given)
        self._journal = journal
        self.scans: dict[str, ScanStory] = {}  # by repository, or by digest; "" is for all others

    def forward(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, str]:
        """What moto answers to a call of any service: status, body, content type."""
        connection = http.client.HTTPConnection(*self._moto, timeout=60)
        try:
            connection.request(
                "POST", path, body=body, headers=dict(headers) | {"x-moto-account-id": ACCOUNT}
            )
            answer = connection.getresponse()
            content = answer.getheader("Content-Type", "application/json")
            return answer.status, answer.read(), content
        finally:
            connection.close()

    def moto(self, action: str, **given: Any) -> Json:
        """What moto answers to an ECR action; `ApiError` when it refuses."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{TARGET}.{action}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=door/20300101/{REGION}/ecr/aws4_request,"
            " SignedHeaders=host, Signature=0",
        }
        status, body, _ = self.forward("/", headers, json.dumps(given).encode())
        answer: Json = json.loads(body or b"{}")
        if status != http.client.OK:
            code = str(answer.get("__type", "InternalFailure")).rpartition("#")[2]
            raise ApiError(code, str(answer.get("message", "")), status)
        if self._journal and action in WRITES:
            with self._lock, self._journal.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([action, given]) + "\n")
        return answer

    def answer(self, action: str, given: Json) -> Json:
        """The answer to an ECR action as AWS would phrase it; `ApiError` likewise."""
        own = {
            "GetAuthorizationToken": self._authorize,
            "PutImage": self._put_image,
            "DescribeImages": self._describe_images,
            "BatchGetImage": self._batch_get_image,
            "StartImageScan": self._start_scan,
            "DescribeImageScanFindings": self._findings,
        }.get(action)
        return own(given) if own else self.moto(action, **given)

    def is_password(self, password: str) -> bool:
        """Whether a token of ours, still valid, holds that password."""
        with self._lock:
            return self._tokens.get(password, 0) > time.time()

    def passwords(self) -> list[str]:
        """Every password given out, for those who look where one must not be."""
        with self._lock:
            return list(self._tokens)

    def forget_tokens(self) -> None:
        """Every token given out so far has expired."""
        with self._lock:
            self._tokens.clear()

    def repository(self, name: str) -> Json | None:
        """What is known of the repository; None when there is none of that name."""
        try:
            return dict(
                self.moto("DescribeRepositories", repositoryNames=[name])["repositories"][0]
            )
        except ApiError as error:
            if error.code == "RepositoryNotFoundException":
                return None
            raise

    def digest_of(self, repository: str, reference: str) -> str | None:
        """The digest behind a tag or digest of the repository; None when there is none."""
        key = "imageDigest" if reference.startswith("sha256:") else "imageTag"
        try:
            found = self.moto(
                "DescribeImages", repositoryName=repository, imageIds=[{key: reference}]
            )
        except ApiError as error:
            if error.code == "ImageNotFoundException":
                return None
            raise
        return str(found["imageDetails"][0]["imageDigest"])

    def record(self, repository: str, manifest: bytes, media_type: str, tag: str | None) -> str:
        """The stored manifest is known to the API from now on; its digest."""
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        given: Json = {
            "repositoryName": repository,
            "imageManifest": manifest.decode(),
            "imageManifestMediaType": media_type,
            "imageDigest": digest,
        }
        if tag is not None:
            given["imageTag"] = tag
        elif self.digest_of(repository, digest):
            return digest
        self.moto("PutImage", **given)
        return digest

    def _authorize(self, _given: Json) -> Json:
        password = secrets.token_urlsafe(96)
        expires = time.time() + TOKEN_S
        with self._lock:
            self._tokens[password] = expires
        token = base64.b64encode(f"AWS:{password}".encode()).decode()
        entry = {
            "authorizationToken": token,
            "expiresAt": expires,
            "proxyEndpoint": f"http://{self._address}",
        }
        return {"authorizationData": [entry]}

    def _put_image(self, given: Json) -> Json:
        digest = f"sha256:{hashlib.sha256(str(given['imageManifest']).encode()).hexdigest()}"
        if given.get("imageDigest", digest) != digest:
            raise ApiError("ImageDigestDoesNotMatchException", f"the manifest's digest is {digest}")
        name, tag = given["repositoryName"], given.get("imageTag")
        stored = self.digest_of(name, tag) if tag else None
        try:
            return self.moto("PutImage", **(given | {"imageDigest": digest}))
        except ApiError as error:
            if error.code == "ImageAlreadyExistsException" and stored not in {None, digest}:
                raise ApiError(
                    "ImageTagAlreadyExistsException",
                    f"The image tag '{tag}' already exists in the '{name}' repository and cannot be"
                    " overwritten because the repository is immutable.",
                ) from error
            raise

    def _describe_images(self, given: Json) -> Json:
        answer = self.moto("DescribeImages", **given)
        ids = [{"imageDigest": each["imageDigest"]} for each in answer["imageDetails"]]
        sizes: dict[str, int] = {}
        if ids:
            name = given["repositoryName"]
            for image in self.moto("BatchGetImage", repositoryName=name, imageIds=ids)["images"]:
                manifest = json.loads(image["imageManifest"])
                parts = [manifest.get("config", {}), *manifest.get("layers", ())]
                sizes[image["imageId"]["imageDigest"]] = sum(part.get("size", 0) for part in parts)
        for each in answer["imageDetails"]:
            each["imageSizeInBytes"] = sizes.get(each["imageDigest"], 0)
        return answer

    def _batch_get_image(self, given: Json) -> Json:
        images, failures = [], []
        for image_id in given.get("imageIds", ()):
            answer = self.moto("BatchGetImage", **(given | {"imageIds": [image_id]}))
            failures += answer.get("failures", [])
            for image in answer["images"][:1]:
                image["imageId"] |= image_id
                images.append(image)
        return {"images": images, "failures": failures}

    def _start_scan(self, given: Json) -> Json:
        self._digest_to_scan(given)
        return {"imageId": given["imageId"], "imageScanStatus": {"status": "IN_PROGRESS"}}

    def _digest_to_scan(self, given: Json) -> str:
        name, image_id = given["repositoryName"], given["imageId"]
        reference = image_id.get("imageDigest") or image_id.get("imageTag", "")
        digest = self.digest_of(name, reference)
        if digest is None:
            raise ApiError("ImageNotFoundException", f"no image {reference} in repository {name}")
        return digest

    def _findings(self, given: Json) -> Json:
        name = given["repositoryName"]
        digest = self._digest_to_scan(given)
        story = self.scans.get(digest) or self.scans.get(name) or self.scans.get("", ScanStory())
        with self._lock:
            story.asked += 1
        if story.status == "NOT_FOUND":
            raise ApiError(
                "ScanNotFoundException",
                f"Image scan does not exist for the image with '{{imageDigest:'{digest}'}}' in the"
                f" repository with name '{name}' in the registry with id '{ACCOUNT}'",
            )
        status = "IN_PROGRESS" if story.asked <= story.after else story.status
        answer: Json = {
            "registryId": ACCOUNT,
            "repositoryName": name,
            "imageId": given["imageId"],
            "imageScanStatus": {"status": status, "description": story.description},
        }
        if status in {"COMPLETE", "ACTIVE"}:
            answer |= self._page(story, given)
        return answer

    def _page(self, story: ScanStory, given: Json) -> Json:
        key, listed = (
            ("enhancedFindings", story.enhanced)
            if story.enhanced
            else (
                "findings",
                story.findings,
            )
        )
        start = int(given.get("nextToken") or 0)
        end = start + int(given.get("maxResults") or PAGE)
        counts: dict[str, int] = {}
        for finding in listed:
            counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
        page: Json = {
            "imageScanFindings": {
                "imageScanCompletedAt": time.time(),
                "vulnerabilitySourceUpdatedAt": time.time(),
                key: copy.deepcopy(listed[start:end]),
                "findingSeverityCounts": counts,
            }
        }
        if end < len(listed):
            page["nextToken"] = str(end)
        return page
