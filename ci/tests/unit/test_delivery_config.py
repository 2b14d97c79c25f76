"""The delivery half of ci.toml makes sense, or says where it does not."""

import pytest
from listed_services import configured

from ci import catalogue, config
from ci.errors import Defect, UsageError
from ci.model import ImageRef

TEXT = configured(catalogue.load().services)


def test_the_environment_gives_the_addresses():
    """An installation needs no change of the repository to have its own registry and manifests."""
    found = config.parse(
        TEXT,
        {"ECR_REGISTRY": "registry.example.com", "MANIFEST_REPO_URL": "https://example.com/m.git"},
    )
    das = catalogue.load().service("das")
    assert str(found.registry.image(das, "7")) == "registry.example.com/cloudopshub-das:7"
    assert found.manifests.url == "https://example.com/m.git"
    assert found.target(das, "staging").file == "environments/staging/data-api-service.yaml"


def test_exactly_one_environment_comes_first():
    """A release of the main branch goes to the one environment that comes from no other."""
    found = config.parse(TEXT, {})
    assert found.first.name == "staging"
    assert found.environment("production").promoted_from == "staging"
    with pytest.raises(UsageError, match="there are staging, production"):
        found.environment("prod")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        pytest.param('from = "staging"', 'from = "test"', "'test', which is not there", id="from"),
        pytest.param('from = "staging"', "", "exactly one", id="two firsts"),
        pytest.param('fail_on = "HIGH"', 'fail_on = "BAD"', "'BAD'", id="severity"),
        pytest.param('tool = "helm"', 'tool = "jsonnet"', "'jsonnet'", id="renderer"),
        pytest.param(
            '"{build}-{sha8}"',
            '"{sha8}"',
            "delivery.tag is '{sha8}'",
            id="a tag without its number",
        ),
        pytest.param("attempts = 20", "attempts = 0", "attempts", id="no attempt"),
        pytest.param('address = ""', 'address = "https://x"', "bare host", id="a scheme"),
        pytest.param("[scan]", "[scam]", "scan", id="a missing table"),
        pytest.param("wait_s", "wait", "scan.wait: no such key", id="an unknown key"),
        pytest.param(
            'ready = "/ready"', 'redy = "/"', "service.0.redy: no such key", id="a service's"
        ),
        pytest.param(
            "port = 8000", 'port = "8000"', "service.0.port is '8000': input", id="a port's type"
        ),
        pytest.param("wait_s = 300", 'wait_s = "300"', "scan.wait_s is '300': input", id="a text"),
        pytest.param("wait_s = 300", "wait_s = -1", "scan.wait_s is -1", id="a bound"),
        pytest.param("[scan]", "[scan", "no TOML", id="no TOML"),
    ],
)
def test_what_makes_no_sense_is_named(old, new, named):
    """Each fault is found when ci starts, not in the middle of a delivery."""
    assert old in TEXT
    with pytest.raises(Defect, match=r"makes no sense|no TOML") as caught:
        config.parse(TEXT.replace(old, new), {})
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "registry:5000/team/das:118-1a2b3c4d",
        "das:118@sha256:" + "0" * 64,
    ],
)
def test_an_image_is_read_as_it_is_written(text):
    """A reference that is parsed and printed is the same text; a port is no tag."""
    assert str(ImageRef.parse(text)) == text


@pytest.mark.parametrize("text", ["das", "registry:5000/das", "das:", "das:a b", "das:1@sha256:0"])
def test_what_is_no_image_is_refused(text):
    """A reference without a tag, or with a bad tag or digest, never gets further."""
    with pytest.raises(ValueError, match="is not"):
        ImageRef.parse(text)


@pytest.mark.parametrize("file", ["{nope}.yaml", "{}.yaml", "{environment.x}.yaml", "{"])
def test_a_template_that_cannot_be_filled_is_named(file):
    """Before anything is looked for under a name that nobody meant."""
    text = TEXT.replace("environments/{environment}/{folder}.yaml", file, 1)
    found = config.parse(text, {})
    with pytest.raises(Defect, match="may hold"):
        found.target(catalogue.load().service("das"), "staging")
