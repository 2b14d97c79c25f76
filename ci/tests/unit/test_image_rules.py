"""How images are built, and what must be true of them."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci import build as image_build
from ci import catalogue
from ci import push as publication
from ci.build import ImageBuild
from ci.plan.facts import BuildFacts
from ci.push import ALREADY, PUSH, REFUSED, Stored
from ci.tools.docker import pushed_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FACTS = BuildFacts(
    commit=COMMIT,
    committed_at=datetime(2026, 5, 1, 12, 30, tzinfo=UTC),
    dirty=False,
    build="118",
    source_repo="https://example.invalid/hub.git",
)
LABELS = {"org.opencontainers.image.version": "118-01234567"}
GOOD = {
    "User": "10001:10001",
    "ExposedPorts": {"8000/tcp": {}},
    "Cmd": ["python", "-m", "data_api"],
    "Env": ["PATH=/bin", "PORT=8000", "GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305"],
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Labels": LABELS
    | {"org.opencontainers.image.title": "das", "org.opencontainers.image.description": "reads"},
}


def service(code: str):
    return catalogue.load().service(code)


def build(code: str = "das") -> ImageBuild:
    return ImageBuild(
        service(code), f"cloudopshub-{code}:118-01234567", "118-01234567", FACTS, 8000
    )


def test_a_good_image_has_no_fault():
    """Numeric user, one port, exec form, no secret, its labels, a HEALTHCHECK."""
    assert image_build.rule_faults({"Config": GOOD}, 8000, LABELS) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"User": ""}, "runs as root"),
        ({"User": "0:0"}, "USER is 0"),
        ({"User": "app"}, "USER app is a name"),
        ({"ExposedPorts": None}, "exposes nothing"),
        ({"ExposedPorts": {"8000/tcp": {}, "22/tcp": {}}}, "exposes 22/tcp, 8000/tcp"),
        ({"Cmd": None}, "neither ENTRYPOINT nor CMD"),
        ({"Cmd": ["/bin/sh", "-c", "python -m data_api"]}, "does not exec"),
        ({"Env": ["DB_PASSWORD=x"]}, "ENV DB_PASSWORD"),
        ({"Env": ["UBS_SECRET_KEY=x"]}, "ENV UBS_SECRET_KEY"),
        ({"Env": ["URL=postgresql://hub:pw@db/hub"]}, "ENV URL"),
        ({"Env": ["X=AKIAABCDEFGHIJKLMNOP"]}, "ENV X"),
        ({"Healthcheck": None}, "no HEALTHCHECK"),
        ({"Labels": {}}, "label org.opencontainers.image.title is missing"),
        ({"Labels": GOOD["Labels"] | {"org.opencontainers.image.version": "1"}}, "is '1', not"),
    ],
)
def test_each_rule_names_what_it_found(change, told):
    """An image that breaks one rule is refused by that rule's words."""
    assert told in "\n".join(image_build.rule_faults({"Config": GOOD | change}, 8000, LABELS))


def test_a_shell_that_execs_is_no_fault():
    """The entry point that moves numba's cache ends with exec, so signals arrive."""
    entry = ["/bin/sh", "-c", 'cp -R /app/.numba "$NUMBA_CACHE_DIR"; exec "$@"', "sh"]
    assert image_build.rule_faults({"Config": GOOD | {"Entrypoint": entry}}, 8000, LABELS) == []


def test_the_same_commit_and_build_give_the_same_command_line():
    """Version, revision and dates come from the commit; no clock, no machine."""
    argv = build().argv()
    assert argv == build().argv()
    assert "--build-arg CREATED=2026-05-01T12:30:00Z" in " ".join(argv)
    assert "--build-arg SOURCE_DATE_EPOCH=1777638600" in " ".join(argv)
    assert f"REVISION={COMMIT}" in argv
    assert "VERSION=118-01234567" in argv
    assert "SOURCE=https://example.invalid/hub.git" in argv
    assert "--provenance=false" in argv
    assert argv[-1] == "data-api-service"


def test_files_that_are_no_commits_have_no_commits_date():
    """An image of edited files is as old as its build."""
    edited = replace(build(), facts=replace(FACTS, dirty=True))
    assert "SOURCE_DATE_EPOCH" not in " ".join(edited.argv())


def test_what_was_built_by_hand_says_so():
    """Without a build number the tag is no release's, and tells when files differ."""
    assert image_build.plain_tag(FACTS) == "local-01234567"
    assert image_build.plain_tag(replace(FACTS, dirty=True)) == "local-01234567-dirty"


@pytest.mark.parametrize("code", ["das", "dis", "aps", "ubs", "ui"])
def test_a_smoke_run_takes_every_right_away(code):
    """Read-only root, no capability, no new privilege, a loopback port, worthless secrets."""
    words = build(code).smoke_argv()
    wanted = {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"}
    assert wanted <= set(words)
    assert [word for word in words if word.startswith("--publish=")] == [
        "--publish=127.0.0.1::8000"
    ]
    assert all("127.0.0.1:9" in word for word in words if "_URL=http" in word or "UPSTREAM" in word)


def test_every_variable_of_the_smoke_run_is_one_that_a_service_reads():
    """The table names no variable that nobody reads, so it does not outlive its use."""
    root = Path(__file__).resolve().parents[3]
    settings = (root / "frontend-dashboard" / "Dockerfile").read_text()
    for pattern in ("*-service/*/settings.py", "*-service/*/chassis/settings.py"):
        for path in root.glob(pattern):
            text = path.read_text()
            prefix = "".join(re.findall(r'env_prefix="(\w+)"', text))
            settings += re.sub(r"(?m)^    (\w+): ", rf"{prefix}\1: ", text).upper()
    own = [name for table in image_build.OF_ITS_OWN.values() for name in table]
    assert [name for name in (*image_build.SMOKE_ENVIRONMENT, *own) if name not in settings] == []


STORED = Stored(
    "sha256:" + "a" * 64,
    "sha256:" + "c" * 64,
    {publication.VERSION: "118-01234567", publication.REVISION: COMMIT},
)
RETAGGED = replace(STORED, labels={**STORED.labels, publication.VERSION: "117-01234567"})


@pytest.mark.parametrize(
    ("local", "stored", "commit", "do"),
    [
        (STORED.id, None, COMMIT, PUSH),
        (None, None, COMMIT, REFUSED),
        (STORED.id, STORED, COMMIT, ALREADY),
        ("sha256:" + "d" * 64, STORED, COMMIT, REFUSED),
        (None, STORED, COMMIT, ALREADY),
        (None, STORED, "f" * 40, REFUSED),
        (None, RETAGGED, COMMIT, REFUSED),
    ],
    ids=[
        "new",
        "nothing anywhere",
        "the same",
        "another build",
        "pushed by an earlier run",
        "another commit's",
        "another build's of the commit",
    ],
)
def test_what_becomes_of_an_image(local, stored, commit, do):
    """Pushed when new, left when equal, refused when different."""
    assert publication.decide(local, stored, "118-01234567", commit).do == do


def test_a_refusal_names_both_images():
    """Who reads it can look at either."""
    why = publication.decide("sha256:" + "d" * 64, STORED, "118-01234567", COMMIT).why
    assert STORED.digest in why
    assert "d" * 64 in why


def test_the_digest_is_the_registrys():
    """What docker says must be what the registry has; nothing there is a fault as well."""
    assert publication.differs("sha256:1", "sha256:1") is None
    assert "the registry has" in str(publication.differs("sha256:1", "sha256:2"))
    assert "no such tag" in str(publication.differs("sha256:1", None))


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("tag invalid: The image tag '1-a' already exists in the 'das' repository", "taken"),
        ("cannot be overwritten because the tag is immutable.", "taken"),
        ("denied: Your authorization token has expired. Reauthenticate and try again.", "again"),
        ("denied: User is not authorized to perform: ecr:InitiateLayerUpload", "denied"),
        ("name unknown: The repository with name 'das' does not exist", "denied"),
        ("unauthorized: authentication required", "again"),
        ("received unexpected HTTP status: 500 Internal Server Error", "again"),
        ("net/http: TLS handshake timeout", "again"),
    ],
)
def test_a_failed_push_is_tried_again_only_where_that_may_help(said, meaning):
    """The texts are Docker's and ECR's own."""
    assert publication.fault(said) == meaning


def test_the_digest_is_found_in_what_docker_prints():
    """The line with tag, digest and size; None when there is none."""
    digest = "sha256:" + "0123456789abcdef" * 4
    said = f"e1: Pushed\n118-01234567: digest: {digest} size: 528\n"
    assert pushed_digest(said) == digest
    assert pushed_digest("e1: Pushed") is None


@pytest.mark.parametrize(
    ("mutability", "exempt", "keeps"),
    [
        ("IMMUTABLE", (), True),
        ("MUTABLE", (), False),
        ("IMMUTABLE_WITH_EXCLUSION", ("latest*",), True),
        ("IMMUTABLE_WITH_EXCLUSION", ("1*",), False),
        ("MUTABLE_WITH_EXCLUSION", ("1*",), True),
    ],
)
def test_where_a_tag_may_be_overwritten(mutability, exempt, keeps):
    """Mutability is judged for the tag at hand, exclusions included."""
    assert publication.keeps_tag(mutability, exempt, "118-01234567") is keeps
