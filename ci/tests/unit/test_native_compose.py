"""The .env of `docker compose up`: made once, read as compose reads it, never another clone's."""

import io

import pytest

from ci import catalogue
from ci.context import Context, from_environment
from ci.errors import OutsideFault, Refused
from ci.native import compose
from ci.screen import Screen

SECRETS = {
    *("SERVICE_TOKEN", "DAS_SERVICE_TOKEN", "DIS_SERVICE_TOKEN", "APS_SERVICE_TOKEN"),
    *("UBS_SECRET_KEY", "UBS_SETUP_TOKEN", "UBS_BOOTSTRAP_API_KEY"),
    *("POSTGRES_PASSWORD", "POSTGRES_DIS_PASSWORD", "POSTGRES_DAS_PASSWORD"),
    *("POSTGRES_APS_PASSWORD", "POSTGRES_UBS_PASSWORD"),
}


@pytest.fixture
def context(tmp_path):
    """A context whose docker is a script: `ps` and `volume` print what the files of these names
    hold.
    """
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1" 2>/dev/null || true\n')
    program.chmod(0o755)
    listed = catalogue.load()
    environ = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    return Context(listed, from_environment(listed), environ, Screen(io.StringIO(), colour=False))


def test_the_secrets_are_written_once(context, tmp_path):
    """Every secret is there, for its owner only; a second time changes no byte; what a person
    wrote stays.
    """
    path = tmp_path / "env"
    path.write_text("UI_PORT=8081")
    path.chmod(0o600)
    assert compose.write_env(context, path).status == "done"
    values = compose.variables(path)
    assert values["UI_PORT"] == "8081"
    assert values.keys() >= SECRETS
    before = path.read_bytes()
    assert compose.write_env(context, path).status == "nothing"
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize(
    "value", ["a$b", "a b", "a#b", 'a"b', "a'b", "a\\b", "'a'b'", "'a\\'", '"ab"']
)
def test_a_secret_that_compose_would_misread_is_refused_by_name(context, tmp_path, name, value):
    """The name is said, and the value is not."""
    path = tmp_path / "env"
    path.write_text(f"{name}={value}\n")
    with pytest.raises(Refused, match=name) as refusal:
        compose.write_env(context, path)
    assert value not in str(refusal.value)


@pytest.mark.parametrize("value", ["Pa55@wo/rd", "ab%4zc", "a:b?c&d=e", "ä~!*()[]{}<>|;,^"])
def test_any_other_character_is_fine(tmp_path, value):
    """A secret stands in no URL, so none of its characters is special there."""
    path = tmp_path / "env"
    path.write_text(f"POSTGRES_DIS_PASSWORD={value}\nPOSTGRES_PASSWORD='$x # \\ \"{value}'\n")
    assert compose.variables(path) == {
        "POSTGRES_DIS_PASSWORD": value,
        "POSTGRES_PASSWORD": f'$x # \\ "{value}',
    }


def test_another_clones_data_is_not_taken_over(context, tmp_path):
    """Its containers, and volumes without their passwords, are refused with a way out; our own
    are not.
    """
    path = tmp_path / "env"
    (tmp_path / "ps").write_text(f"{context.root}\n")
    (tmp_path / "volume").write_text("")
    assert compose.write_env(context, path).status == "done"
    (tmp_path / "volume").write_text("cloudopshub_postgres\n")
    assert compose.write_env(context, path).status == "nothing"
    path.unlink()
    with pytest.raises(Refused, match=r"cloudopshub_postgres.*\n.*\n.*COMPOSE_PROJECT_NAME"):
        compose.write_env(context, path)
    assert not path.exists()
    (tmp_path / "ps").write_text("/elsewhere/clone\n/elsewhere/clone\n")
    with pytest.raises(Refused, match="made in /elsewhere/clone "):
        compose.write_env(context, path)


def test_without_an_engine_there_is_nothing_to_take_over(context, tmp_path):
    """`make env` works before Docker is installed."""
    (tmp_path / "bin" / "docker").unlink()
    context.environ["PATH"] = "/nowhere"
    assert compose.write_env(context, tmp_path / "env").status == "done"


def test_a_platform_that_does_not_answer_is_said(context, tmp_path):
    """Instead of words about a link that leads nowhere."""
    path = tmp_path / "env"
    path.write_text("UI_PORT=9\n")
    with pytest.raises(OutsideFault, match=r"127\.0\.0\.1:9 does not answer"):
        compose.ready(context, path)


def test_a_setup_token_of_a_person_is_escaped_in_the_link():
    """The page decodes it."""
    assert compose.keys.setup_link("http://x", "a/b?") == "http://x/#/setup/a%2Fb%3F"
