"""The git server of a laptop: a password, hooks, and the bad days that tests ask for."""

import delivery_lab
import httpx
import pytest

from ci.tests.lab.git_server import Fault, running_git_server


@pytest.fixture
def server(tmp_path):
    with running_git_server(tmp_path / "server", "me", "secret") as server:
        bare = server.create("hub")
        delivery_lab.seed(bare, {"a": "1\n"})
        yield server


def refs(server, user="me", password="secret"):
    """The first request of every clone."""
    url = f"{server.url('hub')}/info/refs?service=git-upload-pack"
    return httpx.get(url, auth=(user, password), trust_env=False)


def test_only_the_password_opens_it(server):
    """Anybody else is asked for one."""
    assert refs(server).status_code == 200
    assert refs(server, password="other").status_code == 401
    assert refs(server, user="other").status_code == 401
    asked = httpx.get(f"{server.url('hub')}/info/refs?service=git-upload-pack", trust_env=False)
    assert asked.headers["www-authenticate"].startswith("Basic")


def test_git_clones_and_pushes_through_it(server, tmp_path):
    """Smart HTTP, as any client speaks it."""
    url = server.url("hub").replace("http://", "http://me:secret@")
    delivery_lab.git(tmp_path, "clone", "-q", url, "copy")
    (tmp_path / "copy" / "b").write_text("x" * 300_000)  # more than one buffer: sent in chunks
    delivery_lab.git(tmp_path / "copy", "add", "-A")
    delivery_lab.git(tmp_path / "copy", "commit", "-q", "-m", "b")
    delivery_lab.git(
        tmp_path / "copy", "-c", "http.postBuffer=1000", "push", "-q", "origin", "main"
    )
    assert delivery_lab.git(server.path("hub"), "ls-tree", "--name-only", "main") == "a\nb"


def test_what_is_not_there_is_404(server):
    """Neither is anything outside its folder."""
    answer = httpx.get(f"{server.url('gone')}/info/refs", auth=("me", "secret"), trust_env=False)
    assert answer.status_code == 404
    outside = f"http://127.0.0.1:{server.port}/%2e%2e/x.git/info/refs"
    assert httpx.get(outside, auth=("me", "secret"), trust_env=False).status_code >= 400


def test_a_fault_is_met_once_by_the_request_it_is_meant_for(server):
    """After it all is well again."""
    server.fault(Fault("git-upload-pack", status=503))
    assert refs(server).status_code == 503
    assert refs(server).status_code == 200
    assert len(server.requests) == 2


def test_a_repository_that_is_there_is_not_made_anew(server):
    """Creating it twice loses nothing."""
    server.create("hub")
    assert delivery_lab.git(server.path("hub"), "rev-list", "--count", "main") == "1"
