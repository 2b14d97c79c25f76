"""Amazon ECR through boto3: repositories, images by tag and digest, a login, findings.

Everything is bounded: connections 5 s, answers 20 s, four tries of what may be tried again. What
boto3 raises becomes ours: no permission or no credentials is `Refused`, for trying again will not
help; an expired token, throttling, a network or a server in trouble is `OutsideFault`.
"""

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from ci.errors import CiError, OutsideFault, Refused
from ci.push import repository_rules
from ci.push.repository_rules import RepositoryFacts, RepositoryRules
from ci.scan import findings
from ci.scan.findings import Finding, ScanAnswer

if TYPE_CHECKING:
    from mypy_boto3_ecr.client import ECRClient
    from mypy_boto3_ecr.type_defs import ImageDetailTypeDef

HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)"
)
CONNECT_S, READ_S, TRIES = 5, 20, 4
DELETED_AT_ONCE = 100  # BatchDeleteImage's own limit
NOT_ALLOWED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "MissingAuthenticationToken",
}
MANIFESTS = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]


@dataclass(frozen=True)
class StoredImage:
    """One image as the registry holds it."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime
    size_bytes: int


@dataclass(frozen=True)
class Login:
    """What opens the registry's /v2/ API for some hours."""

    username: str
    password: str = field(repr=False)
    host: str


@dataclass(frozen=True)
class Ensured:
    """A repository that is there. did: `created`, `repaired` or nothing. drift: from the rules."""

    name: str
    did: str
    drift: tuple[str, ...] = ()


class Registry:
    """One registry at `address` (a bare host), with the credentials that `environ` gives.

    The AWS variables of `environ` count, AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL among them;
    without keys there, boto3's own ways are tried: profile, web identity, the machine's role.
    """

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        if not address:
            raise Refused(
                "no registry is known: set ECR_REGISTRY, or address under [registry] in ci/ci.toml",
                status="unconfigured",
            )
        self.address = address
        named = HOST.fullmatch(address)
        self._account: dict[str, Any] = {"registryId": named["account"]} if named else {}
        region = named["region"] if named else None
        self._client = _client(region, environ)

    def ensure_repository(
        self, name: str, rules: RepositoryRules, tag: str, *, fix: bool, dry_run: bool = False
    ) -> Ensured:
        """The repository is there and keeps its tags; created when missing, mended with `fix`.

        `Refused` (mutable_repository) when tags like `tag` could be overwritten and not `fix`.
        """
        facts = self._facts(name)
        if facts is None:
            if not dry_run:
                self._create(name, rules)
            return Ensured(name, "created")
        drift = repository_rules.drift(facts, rules, tag)
        if drift and fix:
            if not dry_run:
                self._mend(name, rules, drift)
            return Ensured(name, "repaired", drift)
        if repository_rules.MUTABLE in drift:
            raise Refused(
                f"tags in repository {name} can be overwritten ({facts.mutability}): what a"
                " manifest references could change under it. `push --fix` makes them immutable.",
                status="mutable_repository",
                repository=name,
                mutability=facts.mutability,
            )
        return Ensured(name, "", drift)

    def exists(self, name: str) -> bool:
        """Whether there is a repository of that name."""
        return self._facts(name) is not None

    def find(self, name: str, tag: str) -> StoredImage | None:
        """The image behind a tag; None when tag or repository is not there."""
        with self._foreign("ecr:DescribeImages", name):
            try:
                answer = self._client.describe_images(
                    repositoryName=name, imageIds=[{"imageTag": tag}], **self._account
                )
            except (
                self._client.exceptions.ImageNotFoundException,
                self._client.exceptions.RepositoryNotFoundException,
            ):
                return None
        return _stored(answer["imageDetails"][0])

    def images(self, name: str) -> list[StoredImage]:
        """All images of the repository, newest first; none when there is no such repository."""
        with self._foreign("ecr:DescribeImages", name):
            pages = self._client.get_paginator("describe_images").paginate(
                repositoryName=name, **self._account
            )
            try:
                found = [_stored(each) for page in pages for each in page["imageDetails"]]
            except self._client.exceptions.RepositoryNotFoundException:
                return []
        return sorted(found, key=lambda image: (image.pushed_at, image.digest), reverse=True)

    def delete(self, name: str, digests: Sequence[str]) -> list[str]:
        """The images are gone; the digests that the registry would not delete, and why."""
        kept = []
        for start in range(0, len(digests), DELETED_AT_ONCE):
            ids = [{"imageDigest": each} for each in digests[start : start + DELETED_AT_ONCE]]
            with self._foreign("ecr:BatchDeleteImage", name):
                answer = self._client.batch_delete_image(
                    repositoryName=name,
                    imageIds=ids,  # type: ignore[arg-type]  # a list of exactly such mappings
                    **self._account,
                )
            kept += [
                f"{each.get('imageId', {}).get('imageDigest')}: {each.get('failureReason')}"
                for each in answer.get("failures", [])
            ]
        return kept

    def login(self) -> Login:
        """Credentials for docker and the /v2/ API; `Refused` when they are another registry's."""
        with self._foreign("ecr:GetAuthorizationToken", self.address):
            answer = self._client.get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        host = answer["proxyEndpoint"].partition("://")[2]
        if host != self.address:
            raise Refused(
                f"these AWS credentials are for {host}; images go to {self.address}",
                status="other_registry",
            )
        return Login(user, password, host)

    def findings(self, name: str, digest: str) -> ScanAnswer:
        """What the scanner says about an image; all pages, or one of the four no-answers."""
        found: list[Finding] = []
        given: dict[str, Any] = {
            "repositoryName": name,
            "imageId": {"imageDigest": digest},
            "maxResults": 1000,
            **self._account,
        }
        while True:
            with self._foreign("ecr:DescribeImageScanFindings", name):
                try:
                    answer: Any = self._client.describe_image_scan_findings(**given)
                except self._client.exceptions.ScanNotFoundException as exc:
                    return ScanAnswer(findings.NOT_FOUND, "ScanNotFoundException", str(exc))
            word = answer["imageScanStatus"].get("status", "")
            about = answer["imageScanStatus"].get("description", "")
            results = answer.get("imageScanFindings") or {}
            state = findings.state(word, has_results=bool(results))
            if state != findings.ANSWERED:
                return ScanAnswer(state, word, about)
            found += [_basic(each) for each in results.get("findings", ())]
            for each in results.get("enhancedFindings", ()):
                found += _enhanced(each)
            if not answer.get("nextToken"):
                return ScanAnswer(state, word, about, tuple(found))
            given["nextToken"] = answer["nextToken"]

    def _facts(self, name: str) -> RepositoryFacts | None:
        with self._foreign("ecr:DescribeRepositories", name):
            try:
                answer = self._client.describe_repositories(repositoryNames=[name], **self._account)
            except self._client.exceptions.RepositoryNotFoundException:
                return None
        known: Any = answer["repositories"][0]
        with self._foreign("ecr:GetLifecyclePolicy", name):
            try:
                policy = self._client.get_lifecycle_policy(repositoryName=name, **self._account)
                lifecycle: str | None = policy["lifecyclePolicyText"]
            except self._client.exceptions.LifecyclePolicyNotFoundException:
                lifecycle = None
        return RepositoryFacts(
            mutability=known.get("imageTagMutability", "MUTABLE"),
            excluded=tuple(
                each["filter"] for each in known.get("imageTagMutabilityExclusionFilters") or ()
            ),
            scans_on_push=bool(known.get("imageScanningConfiguration", {}).get("scanOnPush")),
            lifecycle=lifecycle,
        )

    def _create(self, name: str, rules: RepositoryRules) -> None:
        with (
            self._foreign("ecr:CreateRepository", name),
            # another build was faster
            contextlib.suppress(self._client.exceptions.RepositoryAlreadyExistsException),
        ):
            self._client.create_repository(
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                **self._account,
            )
        self._mend(name, rules, (repository_rules.LIFECYCLE,))

    def _mend(self, name: str, rules: RepositoryRules, drift: Sequence[str]) -> None:
        if repository_rules.MUTABLE in drift:
            with self._foreign("ecr:PutImageTagMutability", name):
                self._client.put_image_tag_mutability(
                    repositoryName=name, imageTagMutability="IMMUTABLE", **self._account
                )
        if repository_rules.UNSCANNED in drift:
            with self._foreign("ecr:PutImageScanningConfiguration", name):
                self._client.put_image_scanning_configuration(
                    repositoryName=name,
                    imageScanningConfiguration={"scanOnPush": True},
                    **self._account,
                )
        if repository_rules.LIFECYCLE in drift:
            with self._foreign("ecr:PutLifecyclePolicy", name):
                self._client.put_lifecycle_policy(
                    repositoryName=name, lifecyclePolicyText=rules.lifecycle(), **self._account
                )

    @contextlib.contextmanager
    def _foreign(self, action: str, about: str) -> Iterator[None]:
        """What boto3 raises becomes ours; what a caller expects, it catches within the block."""
        try:
            yield
        except CiError:
            raise
        except aws.ClientError as exc:
            raise _ours(exc, action, about) from exc
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound) as exc:
            raise Refused(f"{action} on {about}: {exc}", status="no_credentials") from exc
        except aws.BotoCoreError as exc:
            raise OutsideFault(f"{action} on {about}: {exc}") from exc


def _client(region: str | None, environ: Mapping[str, str]) -> "ECRClient":
    keys = {
        "aws_access_key_id": environ.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": environ.get("AWS_SECRET_ACCESS_KEY"),
        "aws_session_token": environ.get("AWS_SESSION_TOKEN"),
    }
    given = {name: value for name, value in keys.items() if value}
    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    endpoint = environ.get("AWS_ENDPOINT_URL_ECR") or environ.get("AWS_ENDPOINT_URL")
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},
    )
    try:
        client: ECRClient = boto3.session.Session(region_name=region, **given).client(  # type: ignore[arg-type]
            "ecr", endpoint_url=endpoint or None, config=config
        )
    except aws.NoRegionError as exc:
        raise Refused("no AWS region: set AWS_REGION", status="no_region") from exc
    except (aws.BotoCoreError, ValueError) as exc:
        raise Refused(f"AWS settings make no sense: {exc}", status="no_credentials") from exc
    return client


def _ours(exc: aws.ClientError, action: str, about: str) -> CiError:
    code = exc.response.get("Error", {}).get("Code", "")
    text = f"{action} on {about}: {code}: {exc.response.get('Error', {}).get('Message', '')}"
    if code in NOT_ALLOWED:
        return Refused(text, status="not_allowed", action=action)
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if code in {"ExpiredTokenException", "ExpiredToken", "RequestExpired"} or status >= 500:
        return OutsideFault(text)
    if "Throttl" in code or code in {"LimitExceededException", "TooManyRequestsException"}:
        return OutsideFault(text, status="throttled")
    return Refused(text, status="registry_refused", action=action, code=code)


def _stored(detail: "ImageDetailTypeDef") -> StoredImage:
    return StoredImage(
        digest=detail["imageDigest"],
        tags=tuple(sorted(detail.get("imageTags", ()))),
        pushed_at=detail["imagePushedAt"].astimezone(UTC),
        size_bytes=detail.get("imageSizeInBytes", 0),
    )


def _basic(each: Mapping[str, Any]) -> Finding:
    said = {pair.get("key"): pair.get("value") for pair in each.get("attributes", ())}
    return Finding(
        id=each.get("name", ""),
        severity=each.get("severity", ""),
        package=said.get("package_name") or "",
        version=said.get("package_version") or "",
        uri=each.get("uri"),
    )


def _enhanced(each: Mapping[str, Any]) -> list[Finding]:
    """One finding for each package that it names; none for one that is closed or suppressed."""
    if each.get("status", "ACTIVE") != "ACTIVE":
        return []
    details = each.get("packageVulnerabilityDetails") or {}
    packages = details.get("vulnerablePackages") or [{}]
    return [
        Finding(
            id=details.get("vulnerabilityId") or each.get("title", ""),
            severity=each.get("severity", ""),
            package=package.get("name", ""),
            version=package.get("version", ""),
            fixed_in=package.get("fixedInVersion"),
            uri=details.get("sourceUrl"),
        )
        for package in packages
    ]
