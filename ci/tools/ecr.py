"""Amazon ECR through boto3: one client, images by tag, a login.

What only one room asks (repositories, findings) stands there, and calls `client` in `calling`.

Everything is bounded. What boto3 raises becomes ours: no permission or no credentials is `Refused`;
an expired token, throttling, a network or a server in trouble is `OutsideFault`.
"""

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from ci.errors import CiError, OutsideFault, Refused

if TYPE_CHECKING:
    from mypy_boto3_ecr.client import ECRClient

HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)"
)
CONNECT_S, READ_S, TRIES = 5, 20, 4
NOT_ALLOWED = re.compile(
    "AccessDenied|UnauthorizedOperation|UnrecognizedClient|InvalidClientTokenId"
    "|InvalidSignature|SignatureDoesNotMatch|MissingAuthenticationToken"
)
EXPIRED = re.compile("ExpiredToken|RequestExpired")
THROTTLED = re.compile("Throttl|LimitExceeded|TooManyRequests")


@dataclass(frozen=True)
class Login:
    """What lets docker into the registry for some hours."""

    username: str
    password: str = field(repr=False)
    host: str


class Registry:
    """One registry at `address` (a bare host), with the credentials that `environ` gives.

    Without keys there, boto3's own ways are tried. account: goes along with every call, so that no
    other account's repository is meant.
    """

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        if not address:
            text = "no registry is known: set ECR_REGISTRY, or address under [registry] in ci.toml"
            raise Refused(text, status="unconfigured")
        self.address = address
        named = HOST.fullmatch(address)
        self.account: dict[str, Any] = {"registryId": named["account"]} if named else {}
        self.client = _client(named["region"] if named else None, environ)

    def find(self, name: str, tag: str) -> str | None:
        """The digest of the image behind a tag; None when tag or repository is not there."""
        not_there = self.client.exceptions
        with self.calling("ecr:DescribeImages", name):
            try:
                answer = self.client.describe_images(
                    repositoryName=name, imageIds=[{"imageTag": tag}], **self.account
                )
            except (not_there.ImageNotFoundException, not_there.RepositoryNotFoundException):
                return None
        return answer["imageDetails"][0]["imageDigest"]

    def login(self) -> Login:
        """Credentials for docker; `Refused` when they are another registry's."""
        with self.calling("ecr:GetAuthorizationToken", self.address):
            answer = self.client.get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        host = answer["proxyEndpoint"].partition("://")[2]
        if host != self.address:
            text = f"these AWS credentials are for {host}; images go to {self.address}"
            raise Refused(text, status="other_registry")
        return Login(user, password, host)

    @contextlib.contextmanager
    def calling(self, action: str, about: str) -> Iterator[None]:
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
    endpoint = environ.get("AWS_ENDPOINT_URL_ECR") or environ.get("AWS_ENDPOINT_URL")
    retries: Any = {"mode": "standard", "total_max_attempts": TRIES}
    try:
        session = boto3.session.Session(
            aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID") or None,
            aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY") or None,
            aws_session_token=environ.get("AWS_SESSION_TOKEN") or None,
            region_name=region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
        )
        config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
        return session.client("ecr", endpoint_url=endpoint or None, config=config)
    except aws.NoRegionError as exc:
        raise Refused("no AWS region: set AWS_REGION", status="no_region") from exc
    except (aws.BotoCoreError, ValueError) as exc:
        raise Refused(f"AWS settings make no sense: {exc}", status="no_credentials") from exc


def _ours(exc: aws.ClientError, action: str, about: str) -> CiError:
    error = exc.response.get("Error", {})
    code = error.get("Code", "")
    text = f"{action} on {about}: {code}: {error.get('Message', '')}"
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if NOT_ALLOWED.match(code):
        return Refused(text, status="not_allowed", action=action)
    if EXPIRED.match(code) or status >= 500:
        return OutsideFault(text)
    if THROTTLED.search(code):
        return OutsideFault(text, status="throttled")
    return Refused(text, status="registry_refused", action=action, code=code)
