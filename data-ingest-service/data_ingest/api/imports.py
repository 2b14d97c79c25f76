"""Imports over HTTP: a file is uploaded, imported in the background, and says how it went."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.types import Receive

from data_ingest.api.body import Arriving, Disconnected, Pace, check_size
from data_ingest.api.reading import Door, success
from data_ingest.chassis.identity import IdentityClient
from data_ingest.errors import BadBody, NoSuchImport, Overloaded, TooManyImports, UnsupportedBody
from data_ingest.imports.options import parse
from data_ingest.model import Sender
from data_ingest.store import imports
from data_ingest.store.objects import ObjectStore

READ: Final = "metrics:read"
WRITE: Final = "metrics:write"
UPLOADS_MAX: Final = 8
UPLOADS_OF_TENANT_MAX: Final = 2
UPLOAD_TIMEOUT_S: Final = 3600.0
ENCODINGS: Final = frozenset({"", "identity", "gzip", "x-gzip", "zstd"})


class Uploads:
    """Bodies that become objects: few at a time, each with a bound."""

    def __init__(self, objects: ObjectStore, bytes_max: int, pace: Pace) -> None:
        self._objects = objects
        self._bytes_max = bytes_max
        self._pace = Pace(UPLOAD_TIMEOUT_S, pace.stretch_s, pace.bytes_per_s_min)
        self._threads = anyio.CapacityLimiter(UPLOADS_MAX)
        self._of_tenants: Counter[UUID] = Counter()

    def check(self, request: Request) -> None:
        """Passes for an upload that may be taken, as far as its headers say."""
        parse(request.url.query, request.headers.get("content-type", ""))
        if (encoding := request.headers.get("content-encoding", "").lower()) not in ENCODINGS:
            raise UnsupportedBody(detail=f"Content-Encoding {encoding[:100]!r}; gzip or zstd")
        declared = request.headers.get("content-length", "")
        check_size(int(declared) if declared.isdecimal() else 0, self._bytes_max)

    @contextlib.contextmanager
    def one_of(self, tenant: UUID) -> Iterator[None]:
        """One more is under way; Overloaded where there are too many, in all or of the tenant."""
        of_tenant = self._of_tenants[tenant]
        if self._of_tenants.total() >= UPLOADS_MAX or of_tenant >= UPLOADS_OF_TENANT_MAX:
            raise Overloaded(
                detail="uploads under way",
                limit=UPLOADS_MAX,
                of_tenant=of_tenant,
                limit_of_tenant=UPLOADS_OF_TENANT_MAX,
                retry_after_s=10,
            )
        self._of_tenants[tenant] += 1
        try:
            yield
        finally:
            self._of_tenants -= Counter([tenant])

    async def save(self, receive: Receive, key: str) -> int:
        """The body is an object; its size. One chunk at a time is in memory."""
        arriving = Arriving(receive, self._pace, anyio.current_time())

        def write() -> int:
            size, has_more = 0, True
            with self._objects.writing(key) as sink:
                while has_more:
                    message = anyio.from_thread.run(arriving.next)
                    if message["type"] == "http.disconnect":
                        raise Disconnected(bytes=size)
                    size += len(chunk := message.get("body", b""))
                    check_size(size, self._bytes_max)
                    sink.write(chunk)
                    has_more = message.get("more_body", False)
                if not size:
                    raise BadBody(detail="the upload is empty")
            return size

        return await anyio.to_thread.run_sync(write, limiter=self._threads)

    async def delete(self, tenant: UUID, import_id: UUID) -> None:
        """The upload is not there, whether or not it was."""
        key = imports.object_key(tenant, import_id)
        await anyio.to_thread.run_sync(self._objects.delete, key)


class Imports:
    """The routes below `/api/v1/imports`."""

    def __init__(self, identity: IdentityClient, database_url: str, uploads: Uploads) -> None:
        self._door = Door(identity, database_url, "imports")
        self._uploads = uploads
        self.router = routes = APIRouter(prefix="/api/v1/imports")
        routes.add_api_route("", self.create, methods=["POST"], status_code=202)
        routes.add_api_route("", self.listed)
        routes.add_api_route("/{import_id}", self.one)
        routes.add_api_route("/{import_id}", self.delete, methods=["DELETE"], status_code=204)
        routes.add_api_route("/{import_id}/refused", self.refused, response_class=Response)
        routes.add_api_route("/{import_id}/cancel", self.cancel, methods=["POST"])

    async def create(self, request: Request) -> dict[str, Any]:
        """The body is an object when this answers, and is imported in the background."""
        principal = await self._door.caller(request, WRITE)
        self._uploads.check(request)
        tenant, query = principal.tenant, request.url.query
        content_type = request.headers.get("content-type", "")
        with self._uploads.one_of(tenant):
            sender = Sender(tenant, principal.credential_id or principal.subject)
            async with self._door.connected() as conn:
                limits = principal.limits
                import_id = await imports.create(conn, sender, query, content_type, limits)
            if import_id is None:
                raise TooManyImports(limit=imports.UNFINISHED_MAX, retry_after_s=60)
            try:
                key = imports.object_key(tenant, import_id)
                size = await self._uploads.save(request.receive, key)
                async with self._door.connected() as conn:
                    await conn.execute(imports.TRIM, tenant, imports.FINISHED_MAX)
                    row = await conn.fetchrow(imports.ENQUEUE, tenant, import_id, size)
                return success(_rendered(row))
            except BaseException:
                with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                    await self._delete(tenant, import_id)
                raise

    async def listed(self, request: Request) -> dict[str, Any]:
        """All imports of the caller's organisation, the latest first."""
        principal = await self._door.caller(request, READ)
        async with self._door.connected() as conn:
            rows = await conn.fetch(imports.LIST, principal.tenant)
        return success([_rendered(row) for row in rows])

    async def one(self, request: Request, import_id: UUID) -> dict[str, Any]:
        """How far it is, and what became of its rows."""
        principal = await self._door.caller(request, READ)
        async with self._door.connected() as conn:
            row = await conn.fetchrow(imports.ONE, principal.tenant, import_id)
        return success(_rendered(row))

    async def refused(self, request: Request, import_id: UUID) -> Response:
        """The first rows that were refused, and why: NDJSON."""
        principal = await self._door.caller(request, READ)
        async with self._door.connected() as conn:
            report = await conn.fetchval(imports.REPORT, principal.tenant, import_id)
        if report is None:
            raise NoSuchImport
        lines = "".join(json.dumps(entry) + "\n" for entry in json.loads(report))
        return Response(lines, media_type="application/x-ndjson")

    async def cancel(self, request: Request, import_id: UUID) -> dict[str, Any]:
        """It ends within seconds; what it has stored stays."""
        principal = await self._door.caller(request, WRITE)
        async with self._door.connected() as conn:
            row = await conn.fetchrow(imports.CANCEL, principal.tenant, import_id)
        if row and row["finished_at"]:
            await self._uploads.delete(principal.tenant, import_id)
        return success(_rendered(row))

    async def delete(self, request: Request, import_id: UUID) -> None:
        """The import and its report are gone, and it ends if it runs; what it has stored stays."""
        principal = await self._door.caller(request, WRITE)
        await self._delete(principal.tenant, import_id)

    async def _delete(self, tenant: UUID, import_id: UUID) -> None:
        async with self._door.connected() as conn:
            was_there = await conn.fetchval(imports.DELETE, tenant, import_id)
        await self._uploads.delete(tenant, import_id)
        if not was_there:
            raise NoSuchImport


def _rendered(row: Any) -> dict[str, Any]:
    if row is None:
        raise NoSuchImport
    options, progress = parse(row["options"], row["content_type"]), json.loads(row["progress"])
    times = ("created_at", "started_at", "finished_at")
    return {
        "id": str(row["import_id"]),
        "state": row["state"],
        "format": options.format,
        "dry_run": options.is_dry_run,
        "bytes": row["bytes"],
        "progress": {"bytes": progress.get("bytes", 0), "rows": progress.get("rows", 0)},
        "accepted": progress.get("accepted", 0),
        "refused": progress.get("refused", {}),
        "series": progress.get("series", []),
        "error": row["error"],
        **{name: row[name] and row[name].isoformat() for name in times},
    }
