"""Programs that deliver nothing are given nothing that could."""

import asyncio

import pytest

from ci import build as building
from ci import process
from ci.process import Done
from ci.test import run
from ci.tools.docker import Docker

GIVEN = {
    **dict.fromkeys(process.MANIFEST_SECRETS | process.AWS_SECRETS, "s3cret"),
    "PATH": "/bin",
    "AWS_REGION": "eu-central-1",
}


def test_tests_are_given_no_credentials(monkeypatch):
    """They run the code of a change, on a laptop with everything exported as well."""
    monkeypatch.setattr(run.os, "environ", GIVEN)
    env = run.environment()
    assert "s3cret" not in env.values()
    assert env["AWS_REGION"] == "eu-central-1"


def test_syft_and_docker_are_given_none_of_the_manifests(monkeypatch, tmp_path):
    """Docker keeps AWS's, which a credential helper may need for a base image."""
    seen = []

    def ran(argv, env, **_):
        seen.append(env)
        (tmp_path / "x.json").write_text('{"components": [{"type": "library"}]}')
        return Done(0, "")

    monkeypatch.setattr(process, "run", ran)
    building.write_sbom(["syft"], tmp_path / "x.json", GIVEN)
    Docker(tmp_path, GIVEN).call(["docker", "version"])
    syft, docker = seen
    assert "s3cret" not in syft.values()
    assert not process.MANIFEST_SECRETS & docker.keys()
    assert docker["AWS_PROFILE"] == "s3cret"


@pytest.mark.parametrize("run", [process.run, lambda argv: asyncio.run(process.run_async(argv))])
def test_an_answer_and_a_warning_are_apart(run):
    """Who reads JSON or a commit id meets no warning in it; a person is told both."""
    done = run(["sh", "-c", "echo warning >&2; echo answer; exit 3"])
    assert (done.code, done.stdout, done.stderr) == (3, "answer\n", "warning\n")
    assert done.text == "answer\nwarning"


def test_the_end_of_either_stream_is_told():
    """The reason may stand in one, and much else in the other."""
    done = Done(1, "the first\nthe reason\n", "chatter\n" * 20)
    assert done.last_lines(1) == "the reason\nchatter"
    assert Done(0, "", "only").last_lines() == "only"
