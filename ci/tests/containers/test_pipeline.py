"""A push, all the way: `ci local` over the real Jenkinsfile, with five services of one file."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import tiny_platform

from ci.tests.lab import pipeline, servers

LACKS = servers.missing(os.environ)
REASON = (
    "this is a pipeline's own step already"
    if os.environ.get(pipeline.INSIDE)
    else tiny_platform.why_not() or "; ".join(LACKS)
)
pytestmark = pytest.mark.skipif(bool(REASON), reason=str(REASON))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Call `ci local` in the miniature; what it told, and how long it took."""
    folder = tmp_path_factory.mktemp("pipeline")
    root = tiny_platform.make(folder / "hub")
    tiny_platform.link_environments(folder / "site" / "workspace")

    def call(*words):
        done = subprocess.run(
            [
                "ci/.venv/bin/python",
                "-m",
                "ci",
                "local",
                "--json",
                "--folder",
                folder / "site",
                *words,
            ],
            cwd=root,
            env={name: value for name, value in os.environ.items() if name != "BUILD_NUMBER"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert "console" in told, told["message"]
        told["console_text"] = Path(told["console"]).read_text()
        told["password"] = json.loads((folder / "site" / "state.json").read_text())["password"]
        return told

    call.root, call.site = root, folder / "site"
    return call


@pytest.fixture(scope="module")
def first(local):
    """The first push: two services are tested, built, published and handed over together."""
    return local("--only", "ubs", "--only", "ui")


def ran(told):
    """The stages that ran, by the last part of their path, with their results."""
    return {stage["path"][-1]: stage["result"] for stage in told["stages"]}


def show(told, *words):
    """What git says of the manifest repository."""
    done = subprocess.run(
        ["git", "-C", told["manifests"], *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_push_goes_all_the_way(first):
    """One signed commit names both images by digest, and no other service moves; it is valid."""
    assert first["exit_code"] == 0, first["message"] + first["console_text"]
    assert (first["result"], first["status"]) == ("SUCCESS", "delivered")
    body = show(first, "log", "-1", "--format=%B", "main")
    assert re.findall(r"\nImage-(\w+): \S+@sha256:", body) == ["ubs", "ui"]
    changed = show(first, "show", "--name-only", "--format=", "main").split()
    folders = ("frontend-dashboard", "user-billing-service")
    assert changed == [f"environments/staging/{folder}.yaml" for folder in folders]
    assert "its signature verified" in first["message"]
    assert "nothing is wrong" in first["message"]
    kept = {path.name for path in Path(first["artifacts"], ".cache", "ci").iterdir()}
    assert kept >= {"plan.json", "release.json", "sbom", "scan.json", "bump.diff", "outcomes.jsonl"}


def test_no_secret_shows(first, local):
    """Neither in the console, nor in what is archived, nor in the manifests."""
    key = (local.site / "signing-key").read_text().splitlines()[1]
    places = [path for path in Path(first["artifacts"]).rglob("*") if path.is_file()]
    texts = [path.read_text(errors="replace") for path in places]
    texts += [first["console_text"], first["message"], show(first, "log", "-p", "--all")]
    for secret in (first["password"], key):
        assert not [text for text in texts if secret in text]


@pytest.mark.usefixtures("first")
def test_a_push_that_changes_nothing_publishes_nothing(local):
    """And takes seconds: the bound is for a machine that tests two suites at once."""
    told = local("--no-change")
    assert (told["result"], told["status"], told["published"]) == ("SUCCESS", "nothing", False)
    assert told["duration_s"] < 60, told["message"]


@pytest.mark.usefixtures("first")
def test_a_failing_test_stops_it(local):
    """Nothing is built or published; the summary at the console's end says which test."""
    told = local("--break-test", "dis")
    assert (told["result"], told["published"]) == ("FAILURE", False)
    assert ran(told)["Publish"] == ran(told)["Build"] == "NOT_BUILT"
    summary = told["console_text"].rpartition("make -s summary")[2]
    assert "python -m ci test" in summary
    assert "FAILED data-ingest-service/" in summary


@pytest.mark.usefixtures("first")
def test_a_pull_request_is_tested_and_built_but_never_published(local):
    """Its plan compares with main, and no credential is bound."""
    page = local.root / "frontend-dashboard" / "serve.py"
    page.write_text(page.read_text().replace("Healthy, always", "Healthy, at all times"))
    tiny_platform.commit(local.root)
    told = local("--change", "7")
    assert told["result"] == "SUCCESS", told["console_text"]
    assert ran(told)["Publish"] == "NOT_BUILT"
    assert told["published"] is False
    assert " ui: cloudopshub-ui:" in told["console_text"]
    assert "Masking" not in told["console_text"]


@pytest.mark.usefixtures("first")
def test_the_checkout_is_left_alone(local):
    """Whatever is pushed is committed in a clone; here nothing appears."""
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=local.root, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
