"""Blocks in an S3 bucket: a small server that speaks as much S3 as reading needs."""

import threading
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from factories import write_block

from data_api.chassis.objects import Bucket, Directory, ObjectStoreUnavailable, open_store
from data_api.store.block import BlockReader, BlockRef
from data_api.store.fragments import merge


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """(URL of the store, folder behind it, requests of bytes so far)."""
    asked = []

    class S3(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, *, body):
            path = tmp_path / unquote(urlsplit(self.path).path).lstrip("/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            data, status = path.read_bytes(), 200
            size = len(data)
            if wanted := self.headers.get("range"):
                first, last = wanted.removeprefix("bytes=").split("-")
                data, status = data[int(first) : int(last) + 1], 206
                asked.append(len(data))
            self.send_response(status)
            if status == 206:
                end = int(first) + len(data) - 1
                self.send_header("content-range", f"bytes {first}-{end}/{size}")
            self.send_header("content-length", str(len(data)))
            self.send_header("last-modified", formatdate(usegmt=True))
            self.send_header("etag", '"1"')
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_):
            """Silent."""

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with ThreadingHTTPServer(("127.0.0.1", 0), S3) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        yield f"s3://bucket/prefix?{endpoint}", tmp_path / "bucket" / "prefix", asked
        server.shutdown()


def test_a_block_in_a_bucket_reads_like_a_file(bucket):
    """The same samples come out, and only the ranges of the row groups that matter travel."""
    url, folder, asked = bucket
    tenant = uuid.uuid4()
    key = f"{tenant}/2026-01-01/block.parquet"
    rng = np.random.default_rng(3)
    samples = [(s, ms, float(rng.random())) for s in range(64) for ms in range(500)]
    write_block(folder / key, tenant, samples, group=4)
    size = (folder / key).stat().st_size
    reader = BlockReader(open_store(url, Directory, Bucket), 1 << 24)
    block = BlockRef(1, 1, 0, 499, len(samples), size, key)
    found = merge(list(reader.fragments(block, np.array([7]), (0, 499))), 1)
    assert found.values.tolist() == [value for s, _, value in samples if s == 7]
    assert sum(asked) < size / 2


def test_an_object_that_is_not_there_is_unavailable(bucket):
    """A lost object, like a lost store, is `unavailable`: never silently less data."""
    url, _, _ = bucket
    block = BlockRef(1, 1, 0, 9, 1, 100, f"{uuid.uuid4()}/d/none.parquet")
    with pytest.raises(ObjectStoreUnavailable):
        list(
            BlockReader(open_store(url, Directory, Bucket), 1 << 20).fragments(
                block, np.array([1]), (0, 9)
            )
        )
