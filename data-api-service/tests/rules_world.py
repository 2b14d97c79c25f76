"""What evaluators meet: a user-billing-service and a data-ingest-service that store what they get.

Over real HTTP, since evaluators are processes; remote_write is read after its specification.
"""

import asyncio
import contextlib
import struct
import threading
import time
import uuid
from dataclasses import dataclass, field

import asyncpg
import cramjam
import jwt
import uvicorn
from factories import Ingest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECRET = "a secret of the stand-in for ubs, 32+ bytes"


def fields(message):
    """(number, value) of a protobuf message: ints, or the bytes of what is delimited or fixed."""
    at = 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        tag = varint()
        match tag & 7:
            case 0:
                yield tag >> 3, varint()
            case 1:
                yield tag >> 3, message[at : at + 8]
                at += 8
            case 2:
                size = varint()
                yield tag >> 3, message[at : at + size]
                at += size


def decoded(body):
    """(labels, ms, value) of each sample of a remote_write 1.0 request."""
    samples = []
    for _, series in fields(bytes(cramjam.snappy.decompress_raw(body))):
        parts = list(fields(series))
        labels = {}
        for number, part in parts:
            if number == 1:
                name, value = (text.decode() for _, text in fields(part))
                labels[name] = value
        assert list(labels) == sorted(labels)
        for number, part in parts:
            if number == 2:
                sample = dict(fields(part))
                samples.append((labels, sample[2], struct.unpack("<d", sample[1])[0]))
    return samples


@dataclass
class World:
    """Writes as they came: (tenant, samples); `hold` keeps answers back, `refuse` is a status."""

    database_url: str
    objects: object
    home: uuid.UUID | None = None
    limits: dict = field(default_factory=dict)
    writes: list = field(default_factory=list)
    refuse: int = 0
    ubs_is_down: bool = False
    hold: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __post_init__(self):
        self.hold.set()

    async def token(self, request):
        if self.ubs_is_down:
            return Response(status_code=503)
        body = await request.json()
        assert (body["service"], body["audience"]) == ("das", "dis")
        assert body["scopes"] == ["metrics:write"]
        claims = {"org": body["tenant"], "limits": {"plan": "x", **self.limits}}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        return JSONResponse({"token": token, "expires_in_s": 300})

    async def home_organisation(self, _):
        return JSONResponse({"tenant": None if self.home is None else str(self.home)})

    async def write(self, request):
        token = request.headers["authorization"].removeprefix("Bearer ")
        tenant = uuid.UUID(jwt.decode(token, SECRET, algorithms=["HS256"])["org"])
        samples = decoded(await request.body())
        self.arrived.set()
        await asyncio.to_thread(self.hold.wait)
        if self.refuse:
            return Response("no", self.refuse)
        connection = await asyncpg.connect(self.database_url)
        ingest = Ingest(connection, self.objects)
        for labels, at_ms, value in samples:
            await ingest.write(tenant, labels, [(at_ms, value)])
        await connection.close()
        self.writes.append((tenant, samples))
        return Response(status_code=204)

    def of(self, tenant, metric):
        """{(other labels, ms): [values in the order written]} of one metric."""
        out = {}
        for whose, samples in list(self.writes):
            for labels, at_ms, value in samples:
                if whose == tenant and labels["__name__"] == metric:
                    rest = tuple((n, v) for n, v in labels.items() if n != "__name__")
                    out.setdefault((rest, at_ms), []).append(value)
        return out


@contextlib.contextmanager
def running(world):
    """`world` answers at `world.url` until the block ends."""
    app = Starlette(
        routes=[
            Route("/internal/token", world.token, methods=["POST"]),
            Route("/internal/home-organisation", world.home_organisation),
            Route("/api/v1/write", world.write, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    world.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield world
    finally:
        world.hold.set()
        server.should_exit = True
        thread.join()
