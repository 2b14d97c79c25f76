"""What scaffold writes: rendered by Helm, and held against the platform itself."""

import ast
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import direct_call
import kube_checks
import pytest
import service_facts
import yaml
from listed_services import delivery, linked

from ci import catalogue, config, manifests
from ci.bump import render_gate
from ci.bump.render_gate import Expected
from ci.context import Context, from_environment
from ci.errors import Defect, OutsideFault, Refused, UsageError
from ci.model import ImageRef
from ci.scaffold import files
from ci.scaffold.commands import check
from ci.screen import Screen
from ci.tools import helm as helm_module
from ci.tools import kube_yaml

LISTED = catalogue.load()
DELIVERY = delivery(LISTED)
FACTS = {each.service.code: each for each in service_facts.read(LISTED)}
CODES = list(FACTS)
SERVICES = [service for service in LISTED.services if service.package]
EMPTY_UNLESS_SET = re.compile(r"\$\{[A-Z_]+:(?:-|\+.*)\}")
"""What compose gives a service only where its owner says so."""
COMPOSE = yaml.safe_load((LISTED.root / "docker-compose.yml").read_text())["services"]
FEWER = dataclasses.replace(LISTED, services=(LISTED.service("das"), LISTED.service("ubs")))
REGISTRY = "registry.example"
OLDEST, NEWEST = "1.30", kube_checks.versions()[-1]
NEW = "118-1a2b3c4d"
DIGEST = "sha256:" + "c" * 64


@pytest.fixture(scope="module")
def helm():
    """The one that every command would take here."""
    try:
        return helm_module.find(from_environment(LISTED).cache_dir, os.environ)
    except OutsideFault as fault:
        pytest.skip(f"no Helm on this machine: {fault}")


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A scaffolded repository that no test changes."""
    folder = tmp_path_factory.mktemp("manifests")
    addresses = files.Addresses(REGISTRY, "https://git.example/m.git", "main", "hub.example")
    files.write(folder, files.manifest_repository(DELIVERY, LISTED.services, addresses))
    return folder


@pytest.fixture
def own_repo(repo, tmp_path):
    """A copy that the test may change."""
    return Path(shutil.copytree(repo, tmp_path / "own"))


@pytest.fixture(scope="module")
def rendered(helm, repo, tmp_path_factory):
    """The objects of a service in an environment, rendered once. sets: path=JSON, which win."""
    kept = {}

    def objects(code, environment="production", *sets):
        key = (code, environment, sets)
        if key not in kept:
            folder, render = repo, DELIVERY.manifests.render
            if sets:
                folder = Path(shutil.copytree(repo, tmp_path_factory.mktemp("sets") / "repo"))
                (folder / "sets.yaml").write_text(yaml.safe_dump(nested(sets)))
                render = dataclasses.replace(render, values=(*render.values, "sets.yaml"))
            kept[key] = helm.render(folder, render, LISTED.service(code), environment)
        return kept[key]

    return objects


def nested(sets):
    """Values of `a.b=JSON` texts."""
    values = {}
    for path, _, text in (each.partition("=") for each in sets):
        *parents, last = path.split(".")
        inner = values
        for name in parents:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(text)
    return values


def only(objects, kind, name=None):
    """The one object of that kind, and of that name where it is given."""
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind and name in {None, each["metadata"]["name"]}
    )
    return found


def pods(objects):
    """(owner, pod template) of everything that makes pods."""
    kinds = ("Deployment", "Job")
    return [(each, each["spec"]["template"]) for each in objects if each["kind"] in kinds]


def web(objects):
    """The container that serves."""
    for owner, template in pods(objects):
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "web":
            assert owner["kind"] == "Deployment"
            return template["spec"]["containers"][0]
    raise AssertionError("nothing serves")


def variables(objects, container):
    """Name → value of a container's variables; None where a Secret has it."""
    found = {}
    for source in container.get("envFrom", []):
        found |= only(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for each in container.get("env", []):
        found[each["name"]] = each.get("value")
    return found


def settings_names(service):
    """Names the service reads, and those of them it does not start without."""
    package = LISTED.root / service.folder / service.package
    texts = [(package / name).read_text() for name in ("chassis/settings.py", "settings.py")]
    names, required = set(), set()
    for field in (node for text in texts for node in ast.walk(ast.parse(text))):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        annotation = ast.unparse(field.annotation)
        if "ClassVar" in annotation:
            continue
        alias = re.search(r"bare\('(\w+)'\)", annotation)
        name = alias[1] if alias else f"{service.code}_{field.target.id}".upper()
        names.add(name)
        value = field.value
        given = {each.arg for each in value.keywords} if isinstance(value, ast.Call) else set()
        is_bare_field = isinstance(value, ast.Call) and not value.args and "default" not in given
        if value is None or (is_bare_field and "default_factory" not in given):
            required.add(name)
    return names, required


# -- the whole of it


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_everything_written_is_valid(rendered, environment):
    """Strict schemas of two versions of Kubernetes, shapes of custom kinds: no fault."""
    objects = [item for code in CODES for item in rendered(code, environment)]
    assert len(objects) > 40
    assert kube_checks.everything(objects, (OLDEST, NEWEST)) == []


def test_what_argo_cd_is_given_is_valid(repo):
    """Its own kinds, by shape."""
    texts = [path.read_text() for path in sorted((repo / "argocd").rglob("*.yaml"))]
    objects = [item for text in texts for item in kube_yaml.parse(text)]
    assert len(objects) == 3
    assert kube_checks.everything(objects, ()) == []


@pytest.mark.parametrize("code", CODES)
def test_helm_finds_nothing_to_say_of_the_chart(helm, repo, code):
    """`helm lint --strict`, with the values of each service in each environment."""
    service, render = LISTED.service(code), DELIVERY.manifests.render
    for environment in ("staging", "production"):
        names = [config.fill(template, service, environment) for template in render.values]
        words = ["lint", "--strict", "--quiet", render.chart, *(f"--values={n}" for n in names)]
        done = subprocess.run(
            [helm.helm, *words], cwd=repo, env={}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


SWITCHES = {
    "no ingress": (["ingress.enabled=false"], {"Ingress": 0}),
    "an ingress without TLS": (['ingress.tlsSecretName=""'], {"Ingress": 1}),
    "autoscaling": (["autoscaling.enabled=true"], {"HorizontalPodAutoscaler": 5}),
    "no autoscaling": (["autoscaling.enabled=false"], {"HorizontalPodAutoscaler": 0}),
    "plain Secrets": (["secret.external.enabled=false"], {"ExternalSecret": 0, "Secret": 0}),
    "no policies": (["networkPolicy.enabled=false"], {"NetworkPolicy": 0}),
    "metrics of the operator": (["serviceMonitor.enabled=true"], {"ServiceMonitor": 5}),
    "no budgets": (["podDisruptionBudget.enabled=false"], {"PodDisruptionBudget": 0}),
    "no migrations": (['migrate=""'], {"Job": 0}),
    "everything else": (
        [
            'imagePullSecrets=["pull"]',
            'tolerations=[{"key":"spot","operator":"Exists"}]',
            'affinity={"nodeAffinity":{}}',
            'priorityClassName="high"',
            'networkPolicy.nodeCidrs=["10.1.0.0/16"]',
            'networkPolicy.extraEgress=[{"ports":[{"port":4317,"protocol":"TCP"}]}]',
            'networkPolicy.extraIngress=[{"ports":[{"port":9,"protocol":"TCP"}]}]',
            'serviceAccount.annotations={"a":"b"}',
            'serviceMonitor={"enabled":true,"labels":{"release":"prometheus"}}',
            'podDisruptionBudget.maxUnavailable="50%"',
            'config.OTEL_EXPORTER_OTLP_ENDPOINT="http://otel.observe:4318"',
        ],
        {"ServiceMonitor": 5},
    ),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_the_other_way_is_valid(rendered, switch):
    """Each value that turns something on or off, for every service."""
    sets, counts = SWITCHES[switch]
    objects = [each for code in CODES for each in rendered(code, "staging", *sets)]
    assert kube_checks.everything(objects, [NEWEST]) == []
    kinds = [each["kind"] for each in objects]
    assert {kind: kinds.count(kind) for kind in counts} == counts


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tag: 118", "image.tag|image/tag"),
        ("tag: 1e10", "image.tag|image/tag"),
        ('tag: ""', "image.tag|image/tag"),
        ('tag: "none-yet"\nreplcias: 3', "replcias"),
    ],
)
def test_the_chart_refuses_what_it_cannot_mean(helm, own_repo, line, said):
    """A tag that is a number, none at all, a value that no template reads."""
    path = own_repo / "environments/staging/data-api-service.yaml"
    text = path.read_text()
    first, _, second = line.partition("\n")
    path.write_text(text.replace('tag: "none-yet"', first) + (f"{second}\n" if second else ""))
    with pytest.raises(Refused, match=said):
        helm.render(own_repo, DELIVERY.manifests.render, LISTED.service("das"), "staging")


# -- a delivery


@pytest.mark.parametrize("code", CODES)
def test_a_bump_changes_images_and_nothing_else(helm, own_repo, code):
    """The first delivery and the next one pass the gate, each a diff of one or two lines."""
    service = LISTED.service(code)
    target = DELIVERY.target(service, "staging")
    path = own_repo / target.file
    render = DELIVERY.manifests.render
    before = helm.render(own_repo, render, service, "staging", edited=False)
    for tag, lines in ((NEW, 1), ("119-9e999999", 1)):
        image = ImageRef(f"{REGISTRY}/{service.image}", tag, DIGEST)
        old = path.read_bytes()
        edit = manifests.set_image(old, target.key, image)
        path.write_bytes(edit.content)
        assert len(set(edit.content.splitlines()) - set(old.splitlines())) == lines
        after = helm.render(own_repo, render, service, "staging")
        assert render_gate.refusals(before, after, Expected({service.image: image})) == []
        held = [text for each in after for _, text in render_gate.image_fields(each)]
        assert set(held) == {str(image)}
        assert len(held) == len(pods(after))
        before = after


def test_another_registry_is_a_second_line(helm, own_repo):
    """A scaffold made before the registry was known is put right by the first delivery."""
    service = LISTED.service("das")
    path = own_repo / DELIVERY.target(service, "staging").file
    image = ImageRef("127.0.0.1:5000/cloudopshub-das", NEW, DIGEST)
    before = helm.render(own_repo, DELIVERY.manifests.render, service, "staging")
    edit = manifests.set_image(path.read_bytes(), "image", image)
    path.write_bytes(edit.content)
    after = helm.render(own_repo, DELIVERY.manifests.render, service, "staging")
    assert len(edit.changes) == 2
    assert render_gate.refusals(before, after, Expected({service.image: image})) == []


def test_an_edit_that_does_more_is_seen(helm, own_repo):
    """One more replica on the way does not pass as a delivery."""
    service = LISTED.service("das")
    path = own_repo / DELIVERY.target(service, "staging").file
    image = ImageRef(f"{REGISTRY}/cloudopshub-das", NEW, DIGEST)
    before = helm.render(own_repo, DELIVERY.manifests.render, service, "staging")
    edited = manifests.set_image(path.read_bytes(), "image", image).content
    path.write_bytes(edited.replace(b"replicas: 1\n", b"replicas: 2\n", 1))
    after = helm.render(own_repo, DELIVERY.manifests.render, service, "staging")
    (line,) = render_gate.refusals(before, after, Expected({service.image: image}))
    assert "spec.replicas changes from 1 to 2" in line


def layout(render, target):
    """A delivery to staging alone, in another layout of the manifest repository."""
    changed = dataclasses.replace(DELIVERY.manifests, render=render, target=target)
    staging = (config.Environment("staging", None),)
    return dataclasses.replace(DELIVERY, manifests=changed, environments=staging)


UMBRELLA = """\
{{- range $code := list "das" "ubs" }}
---
apiVersion: v1
kind: Pod
metadata: {name: "{{ $code }}"}
spec:
  containers:
    - name: main
      image: {{ with index $.Values $code }}{{ .image.repository }}:{{ .image.tag }}{{ end }}
{{- end }}
"""


def test_an_umbrella_chart_is_rendered_once_and_delivered_together(helm, tmp_path):
    """Several services in one chart and one file: one rendering, and every image in its place."""
    (tmp_path / "hub/templates").mkdir(parents=True)
    (tmp_path / "hub/Chart.yaml").write_text("apiVersion: v2\nname: hub\nversion: 1.0.0\n")
    (tmp_path / "hub/templates/pods.yaml").write_text(UMBRELLA)
    service = "image:\n    repository: old.example/cloudopshub-{}\n    tag: '1'\n"
    values = "".join(f"{code}:\n  {service.format(code)}" for code in ("das", "ubs"))
    (tmp_path / "staging.yaml").write_text(values)
    render = dataclasses.replace(
        DELIVERY.manifests.render,
        chart="hub",
        values=("{environment}.yaml",),
        release="hub",
        namespace="hub",
    )
    delivery = layout(render, config.Target("{environment}.yaml", "{code}.image"))
    assert check(tmp_path, delivery, FEWER, helm) == (2, [])
    before = helm.render(tmp_path, render, LISTED.service("das"), "staging")
    images = {}
    content = (tmp_path / "staging.yaml").read_bytes()
    for each in FEWER.services:
        images[each.image] = ImageRef(f"{REGISTRY}/{each.image}", NEW, DIGEST)
        key = delivery.target(each, "staging").key
        content = manifests.set_image(content, key, images[each.image]).content
    (tmp_path / "staging.yaml").write_bytes(content)
    after = helm.render(tmp_path, render, LISTED.service("ubs"), "staging")
    assert render_gate.refusals(before, after, Expected(images)) == []
    assert (
        len(
            render_gate.refusals(
                before, after, Expected({"cloudopshub-das": images["cloudopshub-das"]})
            )
        )
        == 1
    )


@pytest.mark.parametrize("pinned", [True, False], ids=["digest", "tag"])
def test_a_kustomization_is_rendered_and_delivered(helm, tmp_path, pinned):
    """What kustomize makes of newTag and digest passes the gate, as Kubernetes will pull it."""
    place = tmp_path / "staging/data-api-service"
    place.mkdir(parents=True)
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: das}\n"
    (place / "pod.yaml").write_text(
        f"{pod}spec: {{containers: [{{name: das, image: cloudopshub-das}}]}}\n"
    )
    entry = f"  - name: cloudopshub-das\n    newName: {REGISTRY}/cloudopshub-das\n    newTag: '1'\n"
    (place / "kustomization.yaml").write_text(f"resources: [pod.yaml]\nimages:\n{entry}")
    render = dataclasses.replace(
        DELIVERY.manifests.render, tool="kustomize", path="{environment}/{folder}"
    )
    target = config.Target(
        "{environment}/{folder}/kustomization.yaml", "images[name=cloudopshub-das]"
    )
    delivery = layout(render, target)
    das = dataclasses.replace(LISTED, services=(LISTED.service("das"),))
    assert check(tmp_path, delivery, das, helm) == (1, [])
    service = LISTED.service("das")
    before = helm.render(tmp_path, render, service, "staging", edited=False)
    image = ImageRef(f"{REGISTRY}/cloudopshub-das", NEW, DIGEST if pinned else None)
    file = place / "kustomization.yaml"
    edit = manifests.set_image(file.read_bytes(), delivery.target(service, "staging").key, image)
    file.write_bytes(edit.content)
    after = helm.render(tmp_path, render, service, "staging")
    assert render_gate.refusals(before, after, Expected({service.image: image})) == []


# -- agreement with Dockerfiles, compose and ci.toml


@pytest.mark.parametrize("code", CODES)
def test_port_user_and_probes_are_the_images(rendered, code):
    """What the Dockerfile exposes, runs as and asks itself is what the chart says."""
    objects, service = rendered(code), LISTED.service(code)
    dockerfile = (LISTED.root / service.folder / "Dockerfile").read_text()
    port = int(re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE)[-1])
    user, _, group = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1].partition(":")
    assert f"PORT={port}" in dockerfile
    container = web(objects)
    assert container["ports"][0]["containerPort"] == port
    assert "args" not in container
    assert "command" not in container  # the image's own
    (entry,) = only(objects, "Service")["spec"]["ports"]
    assert entry["port"] == port
    asked = re.search(rf"http://127\.0\.0\.1:{port}(/\w+)", dockerfile)[1]
    assert container["livenessProbe"]["httpGet"] == {"path": asked, "port": "http"}
    assert container["startupProbe"]["httpGet"] == {"path": asked, "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": service.ready, "port": "http"}
    for _, template in pods(objects):
        context = template["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group or user))


@pytest.mark.parametrize("code", CODES)
def test_names_within_the_namespace_are_those_of_compose(rendered, code):
    """One service calls another by the same name and port on a laptop and in a cluster."""
    service = LISTED.service(code)
    assert only(rendered(code), "Service")["metadata"]["name"] == service.folder
    assert service.folder in COMPOSE


@pytest.mark.parametrize("code", CODES)
def test_folders_that_may_be_written_are_those_of_compose(rendered, code):
    """The root file system is read-only in both."""
    tmpfs = {text.partition(":")[0] for text in COMPOSE[LISTED.service(code).folder]["tmpfs"]}
    for _, template in pods(rendered(code)):
        (container,) = template["spec"]["containers"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == tmpfs
        empty = {each["name"] for each in template["spec"]["volumes"] if "emptyDir" in each}
        assert {mount["name"] for mount in container["volumeMounts"]} == empty


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.code)
def test_a_service_gets_the_variables_it_reads(rendered, service):
    """All it cannot start without, all that compose gives it of what it reads, and no others."""
    objects = rendered(service.code)
    given = variables(objects, web(objects))
    reads, required = settings_names(service)
    assert required >= {"DATABASE_URL", "SERVICE_TOKEN"}
    assert required <= given.keys()
    assert given.keys() - reads <= {"AWS_REGION"}
    in_compose = {
        name: value
        for name, value in COMPOSE[service.folder]["environment"].items()
        if not EMPTY_UNLESS_SET.fullmatch(str(value))
    }
    own_url = {f"{service.code.upper()}_URL"}  # it does not call itself
    assert in_compose.keys() & reads - own_url <= given.keys()
    for name, value in given.items():
        if name.endswith("_URL") and name in in_compose and value and name[:3].lower() in FACTS:
            assert value == in_compose[name] or name == "UI_PUBLIC_URL"
    if service.code == "dis":
        own, _, _ = in_compose["DIS_SCRAPE_TARGETS"].partition("${DIS_SCRAPE_TARGETS")
        assert given["DIS_SCRAPE_TARGETS"] == own


def test_the_page_gets_its_upstreams(rendered):
    """Nginx finds the services under the names that its image has as defaults."""
    objects = rendered("ui")
    image = FACTS["ui"].image.variables
    given = variables(objects, web(objects))
    assert given == {name: value for name, value in image.items() if name.endswith("_UPSTREAM")}


@pytest.mark.parametrize("code", CODES)
def test_no_secret_is_in_a_config_map(rendered, code):
    """What is secret comes out of a Secret, key by key."""
    objects = rendered(code)
    secret = {"DATABASE_URL", "SERVICE_TOKEN", "UBS_SECRET_KEY", "UBS_SETUP_TOKEN"}
    secret |= {"UBS_SERVICE_TOKENS"}
    secret |= {f"UBS_BOOTSTRAP_{name}" for name in ("API_KEY", "EMAIL", "PASSWORD")}
    for each in objects:
        if each["kind"] == "ConfigMap":
            assert not secret & each["data"].keys()
    assert "Secret" not in {each["kind"] for each in objects}


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.code)
def test_a_service_reads_no_other_services_secret(rendered, service):
    """In the store its secret is its own, by its name; in compose its token is."""
    (external,) = (each for each in rendered(service.code) if each["kind"] == "ExternalSecret")
    places = {entry["remoteRef"]["key"] for entry in external["spec"]["data"]}
    assert {place.split("/")[-1] for place in places} == {service.folder}
    own = "" if service.code == "ubs" else f"{service.code.upper()}_"
    for each in COMPOSE.values():
        if each["image"] == COMPOSE[service.folder]["image"]:
            said = each.get("environment", {}).get("SERVICE_TOKEN")
            assert said in {None, f"${{{own}SERVICE_TOKEN:?run `make env`}}"}
    assert COMPOSE[service.folder]["environment"]["SERVICE_TOKEN"]


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.code)
def test_migrations_are_those_of_compose(rendered, service):
    """The same module in the same image, before what serves, with DATABASE_URL and nothing else."""
    objects = rendered(service.code)
    jobs = [each for each in objects if each["kind"] == "Job"]
    assert bool(jobs) == bool(service.migrate)
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        steps = [s["command"] for n, s in COMPOSE.items() if n.startswith("migrate-")]
        assert container["args"] == ["python", "-m", service.migrate]
        assert container["args"] in steps
        assert container["image"] == web(objects)["image"]
        assert [each["name"] for each in container["env"]] == ["DATABASE_URL"]
        notes = job["metadata"]["annotations"]
        assert notes["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
        assert notes["helm.sh/hook-delete-policy"] == "before-hook-creation"
        waves = {
            each["kind"]: int(
                each["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", 0)
            )
            for each in objects
        }
        assert waves["ExternalSecret"] < waves["Job"] < waves["Deployment"]
        assert waves["ServiceAccount"] < waves["Job"]
        assert waves["NetworkPolicy"] < waves["Job"]


@pytest.mark.parametrize(
    ("process", "in_compose", "name"),
    [
        ("aps-worker", "analysis-worker", "APS_WORKER_ALIVE_FILE"),
        ("das-rules", "rules-evaluator", "DAS_RULES_ALIVE_FILE"),
    ],
)
def test_a_worker_is_that_of_compose(rendered, process, in_compose, name):
    """The same module; the same file, whose age the probe looks at."""
    code, _, worker_name = process.partition("-")
    objects, service = rendered(code), LISTED.service(code)
    worker = only(objects, "Deployment", f"{service.folder}-{worker_name}")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    there = COMPOSE[in_compose]
    assert container["args"] == there["command"]
    assert container["args"][-1] == service.processes[process]
    assert variables(objects, container)[name] == there["environment"][name]
    assert ["CMD", *container["livenessProbe"]["exec"]["command"]] == there["healthcheck"]["test"]
    assert "ports" not in container


def test_a_worker_may_be_switched_off(rendered):
    """None is a number, too."""
    objects = rendered("aps", "staging", "workers.worker.replicas=0")
    worker = only(objects, "Deployment", "analysis-processing-service-worker")
    assert worker["spec"]["replicas"] == 0


@pytest.mark.parametrize("service", SERVICES, ids=lambda each: each.code)
def test_there_is_time_to_stop(rendered, service):
    """The pause until routers know, the requests' time to finish, and some seconds to close."""
    objects = rendered(service.code)
    text = (LISTED.root / service.folder / service.package / "chassis/serving.py").read_text()
    finish_s = int(re.search(r"^REQUESTS_FINISH_S\b.*= (\d+)", text, re.MULTILINE)[1])
    pause_s = int(variables(objects, web(objects))[f"{service.code.upper()}_DRAIN_S"])
    for owner, template in pods(objects):
        if owner["kind"] == "Deployment":
            grace_s = template["spec"]["terminationGracePeriodSeconds"]
            assert grace_s >= pause_s + finish_s + 10


def test_nginx_pauses_before_it_stops(rendered):
    """It stops taking connections at once, so the pause comes before the signal."""
    assert web(rendered("ui"))["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]


# -- what holds for every object


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_every_pod_is_restricted(rendered, code, environment):
    """What Pod Security `restricted` asks for, a read-only root, no token, limits of memory."""
    for _, template in pods(rendered(code, environment)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}
        assert all(each["emptyDir"]["sizeLimit"] for each in spec["volumes"])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_is_referred_to_is_there(rendered, code, environment):
    """Accounts, ConfigMaps, Secrets with their keys, targets of selectors and autoscalers."""
    objects = rendered(code, environment)
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    kept = {
        (each["spec"]["target"]["name"], entry["secretKey"])
        for each in objects
        if each["kind"] == "ExternalSecret"
        for entry in each["spec"]["data"]
    }
    labels = [template["metadata"]["labels"] for _, template in pods(objects)]
    for _, template in pods(objects):
        assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in names
        (container,) = template["spec"]["containers"]
        for source in container.get("envFrom", []):
            assert ("ConfigMap", source["configMapRef"]["name"]) in names
        for each in container.get("env", []):
            wanted = each.get("valueFrom", {}).get("secretKeyRef")
            if wanted and not wanted.get("optional"):
                assert (wanted["name"], wanted["key"]) in kept
    for each in objects:
        spec = each.get("spec") or {}
        if each["kind"] == "HorizontalPodAutoscaler":
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in names
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(each["kind"])
        if selector:
            matched = [found for found in labels if selector(spec).items() <= found.items()]
            assert len(matched) == 1, each["metadata"]["name"]


@pytest.mark.parametrize("code", CODES)
def test_an_autoscaler_owns_the_number(rendered, code):
    """`replicas` is rendered where no autoscaler is, and nowhere else."""
    for environment, expected in (("staging", True), ("production", False)):
        found = only(rendered(code, environment), "Deployment", LISTED.service(code).folder)
        assert ("replicas" in found["spec"]) is expected


def test_who_calls_is_let_in_and_let_out(rendered):
    """An edge of the call graph is open at both ends; no other pair of services is."""
    out, into = set(), set()
    for code in CODES:
        folder = LISTED.service(code).folder
        policy = only(rendered(code), "NetworkPolicy", f"{folder}-web")["spec"]
        for entry in policy["egress"]:
            for peer in entry["to"]:
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                if called := labels.get("app.kubernetes.io/name"):
                    out.add((folder, called, entry["ports"][0]["port"]))
        for entry in policy.get("ingress", []):
            for peer in entry["from"]:
                for each in peer.get("podSelector", {}).get("matchExpressions", []):
                    if each["operator"] == "In":
                        port = entry["ports"][0]["port"]
                        into |= {(name, folder, port) for name in each["values"]}
    wanted = {
        (fact.service.folder, FACTS[code].service.folder, FACTS[code].image.port)
        for fact in FACTS.values()
        for code in fact.calls
    }
    assert out == into == wanted


def test_only_the_dashboard_is_reached_from_outside(rendered):
    """One ingress in an environment, and one policy that lets its controller in."""
    for code in CODES:
        kinds = [each["kind"] for each in rendered(code)]
        assert kinds.count("Ingress") == (code == "ui")
        folder = LISTED.service(code).folder
        policy = only(rendered(code), "NetworkPolicy", f"{folder}-web")["spec"]
        outside = [
            p for e in policy.get("ingress", []) for p in e["from"] if "podSelector" not in p
        ]
        assert bool(outside) == (code == "ui")


def test_the_way_in_is_as_wide_as_the_pages_nginx(rendered):
    """Bodies and waiting times that nginx allows do not end at the ingress before it."""
    conf = (LISTED.root / "frontend-dashboard/nginx/default.conf.template").read_text()
    notes = only(rendered("ui"), "Ingress")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io"
    body_mb = max(map(int, re.findall(r"client_max_body_size (\d+)m;", conf)))
    assert notes[f"{prefix}/proxy-body-size"] == f"{body_mb}m"
    read_s = max(map(int, re.findall(r"proxy_read_timeout (\d+)s;", conf)))
    assert int(notes[f"{prefix}/proxy-read-timeout"]) > read_s


# -- Argo CD


def test_the_application_set_reads_the_files_that_bump_writes(repo):
    """Chart, values in the order of ci.toml, and the namespace are the same for both."""
    item = yaml.safe_load((repo / "argocd/apps/applications.yaml").read_text())
    git, listed = item["spec"]["generators"][0]["matrix"]["generators"]
    (path,) = (each["path"] for each in git["git"]["files"])
    found = {each.stem for each in repo.glob(path)}
    assert found == {service.folder for service in LISTED.services}
    source = item["spec"]["template"]["spec"]["source"]
    render = DELIVERY.manifests.render
    assert source["path"] == render.chart
    for element in listed["list"]["elements"]:
        assert element["namespace"] == render.namespace.format(environment=element["environment"])
        for folder in found:
            asked = [
                text.replace("{{ .environment }}", element["environment"]).replace(
                    "{{ .path.filename }}", f"{folder}.yaml"
                )
                for text in source["helm"]["valueFiles"]
            ]
            wanted = [
                template.format(environment=element["environment"], folder=folder)
                for template in render.values
            ]
            assert [os.path.normpath(f"{render.chart}/{text}") for text in asked] == wanted
            assert all((repo / text).is_file() for text in wanted)


def test_no_value_takes_the_place_of_a_parameter(repo):
    """Argo CD makes parameters of the keys in services/*.yaml, and of those in its list."""
    item = yaml.safe_load((repo / "argocd/apps/applications.yaml").read_text())
    (_, listed) = item["spec"]["generators"][0]["matrix"]["generators"]
    mine = {"path", *(key for each in listed["list"]["elements"] for key in each)}
    for path in repo.glob("services/*.yaml"):
        assert not mine & yaml.safe_load(path.read_text()).keys()


def test_the_project_allows_what_is_rendered(repo, rendered):
    """Argo CD would refuse to sync a kind that the project does not name; none is superfluous."""
    project = yaml.safe_load((repo / "argocd/apps/project.yaml").read_text())
    allowed = {(e["group"], e["kind"]) for e in project["spec"]["namespaceResourceWhitelist"]}
    found = {
        (each["apiVersion"].rpartition("/")[0], each["kind"])
        for code in CODES
        for environment in ("staging", "production")
        for each in rendered(code, environment)
    }
    assert allowed - {("monitoring.coreos.com", "ServiceMonitor")} == found


# -- checking any repository


def break_values(folder):
    (folder / "environments/staging/data-api-service.yaml").write_text("image: {tag: 1}\n")


def break_template(folder):
    path = folder / "charts/cloudopshub-service/templates/service.yaml"
    path.write_text(path.read_text() + "{{ .Values.no.such.value }}\n")


def break_label(folder):
    path = folder / "charts/cloudopshub-service/templates/service.yaml"
    path.write_text(re.sub(r"(?m)^  labels: .*$", "  labels: {v: a@b}", path.read_text()))


def empty_image(folder):
    path = folder / "environments/staging/data-api-service.yaml"
    path.write_text(path.read_text().replace("image:", "picture:"))


def take_away(folder):
    (folder / "environments/production/user-billing-service.yaml").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (break_values, "staging, data-api-service: .*repository"),
        (break_template, "staging, data-api-service: .*does not render:.*service.yaml"),
        (break_label, "Service data-api-service: metadata.labels.v is a@b; a label holds"),
        (empty_image, "staging, data-api-service: .*data-api-service.yaml.*image is not there"),
        (take_away, "environments/production/user-billing-service.yaml: No such file"),
    ],
)
def test_each_kind_of_harm_is_found(helm, own_repo, harm, said):
    """Values, a template, a label that Kubernetes refuses, a key without an image, a file."""
    harm(own_repo)
    _, faults = check(own_repo, DELIVERY, FEWER, helm)
    assert any(re.search(said, line, re.DOTALL) for line in faults), faults


# -- the command


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The services below a root whose ci.toml nobody edits."""
    return linked(LISTED, tmp_path_factory.mktemp("own")).root


def call(folder, own, *, dry_run=False, environ=None, listed=LISTED, **given):
    """`python -m ci scaffold`; what it ended with."""
    words = [
        word
        for name, text in given.items()
        for word in (f"--{name.replace('_', '-')}", *([] if text is True else [str(text)]))
    ]
    context = Context(
        catalogue=dataclasses.replace(listed, root=own),
        settings=from_environment(LISTED),
        environ={"PATH": os.environ["PATH"], **(environ or {})},
        screen=Screen(stream=io.StringIO()),
        dry_run=dry_run,
    )
    return direct_call.call("scaffold", [str(folder), *words], context)


def test_a_dry_run_lists_and_writes_nothing(tmp_path, own):
    """The same paths that a real run then writes; a third run has nothing to do."""
    folder = tmp_path / "new"
    would = call(folder, own, dry_run=True, domain="hub.example")
    assert would.status == "would_write"
    assert not folder.exists()
    done = call(
        folder, own, domain="hub.example", registry=REGISTRY, repo_url="https://git.example/m"
    )
    assert done.status == "written"
    assert done.facts["written"] == would.facts["written"]
    assert "nothing is wrong" in done.text or "not checked" in done.text
    assert ".invalid" not in done.text
    again = call(
        folder, own, domain="hub.example", registry=REGISTRY, repo_url="https://git.example/m"
    )
    assert again.status == "nothing"


def test_addresses_come_from_the_build_servers_variables(tmp_path, own):
    """As they do for every other command; what nobody names is told."""
    done = call(tmp_path, own, environ={"ECR_REGISTRY": REGISTRY, "HELM": "/nowhere/helm"})
    assert done.status == "written"
    assert "not checked: HELM=/nowhere/helm" in done.text
    assert "still to be named: https://git.invalid/" in done.text
    text = (tmp_path / "environments/staging/data-api-service.yaml").read_text()
    assert f"repository: {REGISTRY}/cloudopshub-das" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"domain": "not a name"}, "is not a name"),
        ({"repo_url": "https://user:secret@git.example/m.git"}, "carries credentials"),
        ({"registry": "https://x.example"}, "is not a bare host"),
    ],
)
def test_addresses_that_make_no_sense_are_refused(tmp_path, own, given, said):
    """And a credential in a URL never reaches a file."""
    with pytest.raises((UsageError, Defect), match=said) as refused:
        call(tmp_path, own, **given)
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_check_ends_as_its_findings_are(helm, own_repo, own):
    """0 with figures, or 5 with every fault."""
    good = call(own_repo, own, check=True, listed=FEWER)
    assert good.status == "valid"
    assert good.facts["objects"] > 30
    break_template(own_repo)
    with pytest.raises(Defect, match="does not render") as found:
        call(own_repo, own, check=True, listed=FEWER)
    assert found.value.status == "invalid"
    assert found.value.exit_code == 5
    with pytest.raises(UsageError, match="is not there"):
        call(own_repo / "nowhere", own, check=True)
