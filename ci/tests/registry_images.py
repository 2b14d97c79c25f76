"""Images in a registry by its /v2/ API, for tests that need no Docker."""

import hashlib
import json
from urllib.parse import urljoin

import httpx

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def client(registry):
    """An HTTP client of a `Registry`, logged in."""
    login = registry.login()
    auth = (login.username, login.password)
    return httpx.Client(base_url=f"http://{login.host}", auth=auth, timeout=60, trust_env=False)


def put_manifest(registry, name, tag, manifest):
    """The answer to writing the manifest under the tag."""
    with client(registry) as api:
        headers = {"Content-Type": manifest["mediaType"]}
        path = f"/v2/{name}/manifests/{tag}"
        return api.put(path, content=json.dumps(manifest).encode(), headers=headers)


def manifest_of(registry, name, reference):
    """The answer to reading a manifest."""
    with client(registry) as api:
        headers = {"Accept": MANIFEST_TYPE}
        return api.get(f"/v2/{name}/manifests/{reference}", headers=headers)


def put(registry, name, tag, content=b"one"):
    """The answer to writing an image of one layer."""
    described = []
    with client(registry) as api:
        for body in (b"{}", content):
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            begun = api.post(f"/v2/{name}/blobs/uploads/")
            where = urljoin(str(begun.url), begun.headers["Location"])
            where += ("&" if "?" in where else "?") + f"digest={digest}"
            api.put(where, content=body).raise_for_status()
            described.append({"digest": digest, "size": len(body)})
    config, layer = described
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE} | config,
        "layers": [{"mediaType": LAYER_TYPE} | layer],
    }
    return put_manifest(registry, name, tag, manifest)


def push(registry, name, tag, content=b"one"):
    """The image is in the registry; its digest."""
    return put(registry, name, tag, content).raise_for_status().headers["Docker-Content-Digest"]
