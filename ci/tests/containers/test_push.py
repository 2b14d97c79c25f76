"""Images, pushed with Docker through the ECR-shaped door: once, again, changed, broken off."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import registry_images
from small_platform import CODES, ROOT, SmallPlatform, why_no_docker, why_no_registry

from ci import build as building
from ci import push as publish
from ci.errors import OutsideFault, Refused
from ci.model import Release
from ci.plan import facts as facts_of
from ci.plan import planning
from ci.tests.lab.ecr_door import LocalEcr, running_ecr
from ci.tools.docker import Docker
from ci.tools.ecr import Registry

REASON = why_no_docker() or why_no_registry()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
MANIFEST_PUT = r"^PUT /v2/.*/manifests/"
KILL_AFTER_S = 600.0

# A push of its own, as `ci push` would run it, for tests that kill it or look at its arguments.
PUSH_SCRIPT = """
import sys
from pathlib import Path
from small_platform import SmallPlatform
from ci import push as publish
import json
root, environ = Path(sys.argv[1]), json.load(sys.stdin)
platform = SmallPlatform(root, environ)
context = platform.context()
print(publish.main(context, platform.delivery(), context.catalogue.services).status)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that no other run uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def door(tmp_path: Path) -> Iterator[LocalEcr]:
    with running_ecr(tmp_path / "ecr") as opened:
        for code in CODES:
            opened.create_repository(f"cloudopshub-{code}")
        yield opened


@pytest.fixture
def platform(tmp_path: Path, door: LocalEcr) -> Iterator[SmallPlatform]:
    made = SmallPlatform.make(tmp_path / "hub", door.environ)
    names = build_images(made)
    yield made
    for name in names:
        subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=False)


def build_images(platform: SmallPlatform) -> list[str]:
    context, names = platform.context(), []
    for service in context.catalogue.services:
        image = building.image(platform.delivery(), service, facts_of.gather(context))
        Docker(context.root, context.environ).build(image.argv())
        names.append(image.name)
    return names


def push(platform: SmallPlatform, **given):
    context = platform.context(**given)
    return publish.main(context, platform.delivery(), context.catalogue.services)


def push_process(platform: SmallPlatform) -> "subprocess.Popen[bytes]":
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'ci' / 'tests'}", "TMPDIR": tempfile.gettempdir()}
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH_SCRIPT, str(platform.root)],
        cwd=platform.root,
        env={**os.environ, **paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # killed as Jenkins does it: with all its children
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(platform.environ).encode())
    process.stdin.close()
    process.stdin = None
    return process


def handed_on(platform: SmallPlatform) -> Release:
    text = (platform.root / ".cache" / "ci" / "release.json").read_text()
    return Release.from_json(json.loads(text))


def registry(door: LocalEcr) -> Registry:
    return Registry(door.registry, door.environ)


def test_a_set_is_pushed_read_back_and_handed_on(platform: SmallPlatform, door: LocalEcr) -> None:
    """What the registry has is in the file handed on; a second push does nothing."""
    assert push(platform, dry_run=True).status == "done"
    assert door.faults.calls(r"^(PUT|POST|PATCH) /v2/|ecr/Create") == []
    assert push(platform).status == "pushed"
    release = handed_on(platform)
    assert set(release.images) == {"one", "two"}
    for image in release.images.values():
        assert registry(door).find(image.name, release.tag) == image.digest
    before = len(door.faults.calls(MANIFEST_PUT))
    again = push(platform)
    assert again.status == "already"
    assert len(door.faults.calls(MANIFEST_PUT)) == before
    assert handed_on(platform) == release


def test_the_digest_is_the_one_that_docker_and_skopeo_see(
    platform: SmallPlatform, door: LocalEcr, tmp_path: Path
) -> None:
    """What is handed on is what Docker pulls by digest, and what skopeo reads behind the tag."""
    push(platform)
    image = handed_on(platform).images["one"]
    login = registry(door).login()
    pinned = f"{image.repository}@{image.digest}"
    docker = Docker(platform.root, platform.environ).logged_in(login)
    assert str(image.digest) in docker.good(["docker", "pull", pinned])
    docker.good(["docker", "rmi", pinned])
    if shutil.which("skopeo") is None:
        pytest.skip("the part with Docker passed; skopeo is not installed (apt install skopeo)")
    auth = tmp_path / "auth.json"
    given = ["--authfile", str(auth), "--tls-verify=false"]
    entry = ["skopeo", "login", *given, "--username=AWS", "--password-stdin", door.registry]
    subprocess.run(entry, input=login.password.encode(), check=True, capture_output=True)
    name = f"docker://{image.repository}:{image.tag}"
    seen = subprocess.run(
        ["skopeo", "inspect", *given, "--format={{.Digest}}", name], check=True, capture_output=True
    )
    assert seen.stdout.decode().strip() == image.digest


def test_other_content_under_the_same_tag_is_refused(
    platform: SmallPlatform, door: LocalEcr
) -> None:
    """The refusal names what is there and what is here, and hands nothing on."""
    push(platform)
    stored = handed_on(platform).images["one"].digest
    (platform.root / ".cache" / "ci" / "release.json").unlink()
    (platform.root / "one-service" / "content").write_text("something else")
    build_images(platform)
    platform.git("checkout", "--quiet", "one-service/content")
    with pytest.raises(Refused, match=str(stored)) as refused:
        push(platform)
    assert refused.value.status == "other_image"
    assert not (platform.root / ".cache" / "ci" / "release.json").exists()
    door.faults.clear()


def test_a_401_and_a_500_in_the_middle_are_tried_again(
    platform: SmallPlatform, door: LocalEcr
) -> None:
    """A login that ends in the middle and a server in trouble cost a retry, not the release."""
    door.inject(MANIFEST_PUT, status=500)
    door.inject(r"^(PATCH|PUT) /v2/cloudopshub-two/blobs/", status=401, code="UNAUTHORIZED")
    door.inject(r"ecr/DescribeImages", status=500, skip=1)
    assert push(platform).status == "pushed"
    assert set(handed_on(platform).images) == {"one", "two"}


def test_a_registry_that_stays_in_trouble_is_an_outside_fault(
    platform: SmallPlatform, door: LocalEcr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tries are bounded; nothing is handed on."""
    monkeypatch.setattr(publish, "PAUSE_S", 0.0)
    door.inject(MANIFEST_PUT, status=500, times=1000)
    with pytest.raises(OutsideFault, match="tried 3 times"):
        push(platform)
    assert not (platform.root / ".cache" / "ci" / "release.json").exists()


def test_a_run_killed_between_two_images_is_finished_by_the_next(
    platform: SmallPlatform, door: LocalEcr, temporary: Path
) -> None:
    """Killed after the first image, a run hands nothing on; the next pushes the rest, and does.

    Of its login it left nothing.
    """
    slow = door.inject(r"/v2/cloudopshub-two/", delay_s=KILL_AFTER_S, times=1)
    process = push_process(platform)
    try:
        deadline = time.monotonic() + KILL_AFTER_S
        while not slow.met and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)  # between polls, within the bound
        assert slow.met, process.communicate()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    door.faults.clear()
    assert not (platform.root / ".cache" / "ci" / "release.json").exists()
    tag = f"118-{platform.git('rev-parse', 'HEAD')[:8]}"
    stored = [registry(door).find(f"cloudopshub-{code}", tag) for code in CODES]
    assert [image is not None for image in stored] == [True, False]
    assert list(temporary.iterdir()) == []
    ended = push(platform)
    assert ended.facts["pushed"] == ["two"]
    assert handed_on(platform).tag == tag


def test_a_fresh_agent_takes_over_what_an_earlier_run_pushed(
    platform: SmallPlatform, door: LocalEcr
) -> None:
    """Without a local image, one whose labels are this commit and tag counts; no other does."""
    push(platform)
    release = handed_on(platform)
    for ref in release.images.values():
        name = f"{ref.name}:{ref.tag}"
        subprocess.run(["docker", "rmi", "--force", name], check=True, capture_output=True)
    assert push(platform).status == "already"
    assert handed_on(platform) == release
    platform.git("commit", "--allow-empty", "--quiet", "--message", "another commit")
    with pytest.raises(Refused, match="`build` comes first"):
        push(platform)


def test_a_plan_of_another_commit_is_not_followed(platform: SmallPlatform) -> None:
    """A plan says what one commit needs; after another commit it says nothing."""
    context = platform.context()
    file = platform.root / ".cache" / "plan.json"
    planning.main(context, platform.delivery(), file)
    services, _ = planning.chosen(context, [], file)
    assert [each.code for each in services] == ["one", "two"]
    platform.git("commit", "--allow-empty", "--quiet", "--message", "another commit")
    with pytest.raises(Refused, match="plan again") as refused:
        planning.chosen(context, [], file)
    assert refused.value.status == "stale_plan"


def test_nobody_publishes_from_elsewhere(platform: SmallPlatform, door: LocalEcr) -> None:
    """Neither a pull request, nor a branch, nor a hand, nor files that differ from the commit."""
    services = platform.context().catalogue.services
    elsewhere = [{"CHANGE_ID": "7"}, {"BRANCH_NAME": "topic"}, {"BRANCH_NAME": ""}]
    for environ in (*elsewhere, {"BUILD_NUMBER": ""}, {"GIT_COMMIT": "f" * 40}):
        with pytest.raises(Refused) as refused:
            publish.main(platform.context(**environ), platform.delivery(), services)
        assert refused.value.status == "may_not_publish"
    (platform.root / "one-service" / "content").write_text("dirty")
    with pytest.raises(Refused, match="git status"):
        push(platform)
    assert door.faults.calls() == []


def test_the_image_registry_2_stands_in_for_docker_registry(tmp_path: Path, monkeypatch) -> None:
    """Where Debian's program is missing, its container is behind the door."""
    inspect = ["docker", "image", "inspect", "registry:2"]
    known = subprocess.run(inspect, capture_output=True, check=False)
    if known.returncode != 0:
        pytest.skip("no image registry:2")
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "-" in name else which(name))
    with running_ecr(tmp_path / "ecr") as opened:
        opened.create_repository("hub")
        digest = registry_images.push(registry(opened), "hub", "1-a", b"content")
        assert registry_images.manifest_of(registry(opened), "hub", digest).is_success


def test_no_secret_is_in_an_argument_list_a_log_or_the_home_folder(
    platform: SmallPlatform, door: LocalEcr, tmp_path: Path, temporary: Path
) -> None:
    """The registry's password is never an argument, never printed, never kept."""
    home = tmp_path / "home"
    home.mkdir()
    platform.environ["HOME"] = str(home)
    door.inject(MANIFEST_PUT, delay_s=1.0)
    process = push_process(platform)
    seen = set()
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                seen.add((folder / "cmdline").read_bytes())
    output = process.communicate()[0]
    assert output.decode().split()[-1] == "pushed"
    assert any(each.startswith(b"docker\0push\0") for each in seen)
    passwords = [password.encode() for password in door.control.passwords()]
    assert passwords
    kept = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    kept += [path.read_bytes() for path in platform.root.rglob("*") if path.is_file()]
    for password in passwords:
        assert not any(password in text for text in [*seen, *kept, output])
    assert list(temporary.iterdir()) == []
