"""Every pod that the scaffolded manifests make, run by Docker as the manifests say: it lives.

User, read-only root, writable folders, memory limit, arguments, variables and probes are taken out
of the rendering. There is no network, so a start that asks anybody for anything is seen here.
"""

import os
import secrets
import shutil
import subprocess
import time

import pytest
from listed_services import delivery

from ci import catalogue
from ci.context import from_environment
from ci.errors import OutsideFault
from ci.scaffold import commands as files
from ci.tools import helm as helm_module

LISTED = catalogue.load()
DELIVERY = delivery(LISTED)
BASES = ("python:3.13-slim-trixie", "nginxinc/nginx-unprivileged:1.26")
LIVES_WITHIN_S = 600.0
SECRETS = {
    "DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/nowhere",
    "SERVICE_TOKEN": "t" * 43,
    "UBS_SECRET_KEY": "k" * 43,
    "UBS_SERVICE_TOKENS": ",".join(f"{code}={code * 16}" for code in ("das", "dis", "aps")),
}


def docker(*words, timeout_s=900):
    return subprocess.run(
        ["docker", *words],
        cwd=LISTED.root,
        text=True,
        capture_output=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def deployments(tmp_path_factory):
    """The Deployments of a service in staging, and their ConfigMap's values."""
    if shutil.which("docker") is None or docker("version").returncode != 0:
        pytest.skip("no Docker engine answers")
    for base in BASES:
        if docker("image", "inspect", base).returncode != 0:
            pytest.skip(f"no base image {base}")
    try:
        helm = helm_module.find(from_environment(LISTED).cache_dir, os.environ)
    except OutsideFault as fault:
        pytest.skip(f"no Helm on this machine: {fault}")
    folder = tmp_path_factory.mktemp("manifests")
    addresses = files.Addresses("registry.example", "https://git.example/m", "main", "hub.example")
    files.write(folder, files.manifest_repository(DELIVERY, LISTED.services, addresses))

    def of(service):
        objects = helm.render(folder, DELIVERY.manifests.render, service, "staging")
        (settings,) = (each["data"] for each in objects if each["kind"] == "ConfigMap")
        return [each for each in objects if each["kind"] == "Deployment"], settings

    return of


def probe(container):
    """The liveness probe as a command inside of the container."""
    asked = container["livenessProbe"]
    if "exec" in asked:
        return asked["exec"]["command"]
    url = f"http://127.0.0.1:{container['ports'][0]['containerPort']}{asked['httpGet']['path']}"
    ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=60)"
    return ["sh", "-c", f"curl -fsS {url} || python -c '{ask}' {url}"]


@pytest.mark.parametrize("code", [service.code for service in LISTED.services])
def test_a_pod_lives_as_it_is_rendered(deployments, code):
    """Restricted as in the cluster and without a network, it starts and its probe succeeds."""
    service = LISTED.service(code)
    image = f"cloudopshub-pod-{code}:{secrets.token_hex(4)}"
    built = docker("build", "--quiet", "--tag", image, service.folder)
    assert built.returncode == 0, built.stderr
    try:
        found, settings = deployments(service)
        for deployment in found:
            lives(deployment, settings, image)
    finally:
        docker("image", "rm", "--force", image)


def lives(deployment, settings, image):
    """`docker run` with what the pod template says; its probe succeeds, and so does its preStop."""
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    who = spec["securityContext"]
    variables = dict(settings)
    for each in container.get("env", []):
        if value := each.get("value") or SECRETS.get(each["name"]):
            variables[each["name"]] = value
    memory = container["resources"]["limits"]["memory"].replace("Gi", "g").replace("Mi", "m")
    name = f"{deployment['metadata']['name']}-{secrets.token_hex(4)}"
    options = ["--network=none", "--read-only", "--cap-drop=ALL", f"--memory={memory}"]
    options += [
        "--security-opt=no-new-privileges",
        f"--user={who['runAsUser']}:{who['runAsGroup']}",
    ]
    # an emptyDir belongs to the pod's fsGroup
    place = f"mode=0777,gid={who['fsGroup']}"
    options += [f"--tmpfs={each['mountPath']}:{place}" for each in container["volumeMounts"]]
    options += [f"--env={key}={value}" for key, value in variables.items()]
    options += [f"--add-host={each.folder}:127.0.0.1" for each in LISTED.services]
    words = ["run", "--detach", f"--name={name}", *options, image, *container.get("args", [])]
    try:
        began = docker(*words)
        assert began.returncode == 0, began.stderr
        deadline = time.monotonic() + LIVES_WITHIN_S
        while (asked := docker("exec", name, *probe(container))).returncode != 0:
            running = docker("inspect", "--format={{.State.Running}}", name).stdout.strip()
            told = docker("logs", "--tail=15", name)
            assert running == "true", f"{name} ended:\n{told.stdout}{told.stderr}"
            assert time.monotonic() < deadline, f"{name}: {asked.stderr}\n{told.stdout}"
            time.sleep(0.2)
        if stop := container.get("lifecycle", {}).get("preStop"):
            assert docker("exec", name, *stop["exec"]["command"]).returncode == 0
    finally:
        docker("rm", "--force", name)
