"""The data plane behind the ECR-shaped door: a real registry, with ECR's rules in front of it.

    docker, skopeo, httpx ──▶ door: AWS:token? repository known? tag free? ──▶ docker-registry
                                 └─ a manifest that was stored ──▶ moto, with its true digest

Bodies flow through in pieces, so that a layer never stands in memory. Accept headers are handed on
one by one: folded into one, the registry serves another form of the manifest, with another digest.
"""

import base64
import binascii
import fnmatch
import http.client
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from ci.tests.lab.ecr_control import ACCOUNT, ControlPlane

PIECE = 256 * 1024
MANIFEST_MAX = 4 * 1024 * 1024
DRAIN_MAX = 1024 * 1024
NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
MANIFEST = re.compile(rf"/v2/{NAME}/manifests/(?P<reference>[^/?]+)")
OTHER = re.compile(rf"/v2/{NAME}/(?:blobs/|tags/list|referrers/)")
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"}
NOT_HANDED_ON = HOP_BY_HOP | {"authorization", "content-length", "expect"}


class Request(BaseHTTPRequestHandler):
    """A request on its way. body_taken: whether reading its body was begun."""

    body_taken = False


class Refusal(Exception):
    """An answer of the registry's API that says no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> bytes:
        """The error as the distribution specification has it."""
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode()


class DataPlane:
    """`/v2/` of the door. registry: where the real one listens."""

    def __init__(self, registry: tuple[str, int], control: ControlPlane) -> None:
        self._registry = registry
        self._control = control
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def serve(self, request: Request) -> None:
        """Answer one request; `Refusal` when a rule of ECR's says no."""
        self._authorize(request)
        path = request.path.partition("?")[0]
        if path in {"/v2", "/v2/"}:
            respond(request, 200, b"{}", {"Content-Type": "application/json"})
            return
        manifest, other = MANIFEST.fullmatch(path), OTHER.match(path)
        matched = manifest or other
        if matched is None:
            raise Refusal(404, "UNSUPPORTED", f"no such resource: {path}")
        repository = self._control.repository(matched["name"])
        if repository is None:
            raise Refusal(
                404,
                "NAME_UNKNOWN",
                f"The repository with name '{matched['name']}' does not exist in the registry with"
                f" id '{ACCOUNT}'",
            )
        if manifest is None:
            self._forward(request, request.path)
        elif request.command == "PUT":
            self._put_manifest(request, repository, manifest["reference"])
        elif request.command in {"GET", "HEAD"}:
            self._get_manifest(request, manifest["name"], manifest["reference"])
        else:
            raise Refusal(405, "UNSUPPORTED", "The operation is unsupported.")

    def _authorize(self, request: Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        if scheme.lower() != "basic" or user != "AWS" or not self._control.is_password(password):
            raise Refusal(401, "DENIED", "Your authorization token is wrong, or token has expired.")

    def _put_manifest(self, request: Request, repository: dict[str, Any], reference: str) -> None:
        name = repository["repositoryName"]
        body = b"".join(pieces(request, MANIFEST_MAX))
        by_digest = reference.startswith("sha256:")
        with self._guard:
            lock = self._locks[name]
        with lock:
            free = by_digest or not self._is_immutable(repository, reference)
            if not free and self._control.digest_of(name, reference):
                raise Refusal(
                    400,
                    "TAG_INVALID",
                    f"The image tag '{reference}' already exists in the '{name}' repository and"
                    " cannot be overwritten because the tag is immutable.",
                )
            connection = self._connect()
            try:
                connection.request("PUT", request.path, body=body, headers=handed_on(request))
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == http.client.CREATED:
                    media_type = request.headers.get("Content-Type", "")
                    self._control.record(name, body, media_type, None if by_digest else reference)
            finally:
                connection.close()
        respond(request, answer.status, text, dict(answer.getheaders()))

    def _is_immutable(self, repository: dict[str, Any], tag: str) -> bool:
        mutability = str(repository.get("imageTagMutability", "MUTABLE"))
        excluded = any(
            fnmatch.fnmatchcase(tag, each["filter"])
            for each in repository.get("imageTagMutabilityExclusionFilters", ())
        )
        immutable = mutability.startswith("IMMUTABLE")
        return immutable != excluded if mutability.endswith("_WITH_EXCLUSION") else immutable

    def _get_manifest(self, request: Request, name: str, reference: str) -> None:
        digest = self._control.digest_of(name, reference)
        if digest is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"Requested image not found: {name} {reference}")
        self._forward(request, f"/v2/{name}/manifests/{digest}")

    def _forward(self, request: Request, path: str) -> None:
        connection = self._connect()
        try:
            connection.putrequest(request.command, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", request.headers.get("Host", "127.0.0.1"))
            for name, value in request.headers.items():
                if name.lower() not in NOT_HANDED_ON:
                    connection.putheader(name, value)
            chunked = is_chunked(request)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif "Content-Length" in request.headers:
                connection.putheader("Content-Length", request.headers["Content-Length"])
            connection.endheaders()
            for piece in pieces(request):
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                connection.send(b"0\r\n\r\n")
            hand_back(request, connection.getresponse())
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._registry, timeout=300)


def is_chunked(request: Request) -> bool:
    """Whether the request's body comes in chunks."""
    return request.headers.get("Transfer-Encoding", "").lower() == "chunked"


def handed_on(request: Request) -> dict[str, str]:
    """The request's headers that the registry behind the door should see."""
    kept = {k: v for k, v in request.headers.items() if k.lower() not in NOT_HANDED_ON}
    return kept | {"Host": request.headers.get("Host", "127.0.0.1")}


def pieces(request: Request, bytes_max: int | None = None) -> Iterator[bytes]:
    """The request's body, piece by piece; `Refusal` above `bytes_max`."""
    seen = 0
    request.body_taken = True
    for piece in _chunks(request) if is_chunked(request) else _plain(request):
        seen += len(piece)
        if bytes_max is not None and seen > bytes_max:
            raise Refusal(413, "SIZE_INVALID", f"more than {bytes_max} bytes")
        yield piece


def _plain(request: Request) -> Iterator[bytes]:
    left = int(request.headers.get("Content-Length") or 0)
    while left > 0:
        piece = request.rfile.read(min(left, PIECE))
        if not piece:
            raise ConnectionResetError("the caller went away")
        left -= len(piece)
        yield piece


def _chunks(request: Request) -> Iterator[bytes]:
    while size := int(request.rfile.readline(64).partition(b";")[0] or b"0", 16):
        while size > 0:
            piece = request.rfile.read(min(size, PIECE))
            if not piece:
                raise ConnectionResetError("the caller went away")
            size -= len(piece)
            yield piece
        request.rfile.readline(8)
    while request.rfile.readline(1024).strip():
        pass


def hand_back(request: Request, answer: http.client.HTTPResponse) -> None:
    """The registry's answer, piece by piece."""
    request.send_response_only(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in HOP_BY_HOP:
            request.send_header(name, value)
    has_body = request.command != "HEAD" and answer.status not in {204, 304}
    chunked = has_body and answer.getheader("Content-Length") is None
    if chunked:
        request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    while has_body and (piece := answer.read(PIECE)):
        request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        request.wfile.write(b"0\r\n\r\n")


def respond(request: Request, status: int, body: bytes, headers: dict[str, str]) -> None:
    """A whole answer at once."""
    request.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP | {"content-length"}:
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
