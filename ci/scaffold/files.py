"""The files of a manifest repository, decided from facts: PURE. Paths and texts out, no disk.

The chart is `template/charts`, word for word. What differs from one installation or service to the
next is put in here: into `<<name>>` of the other templates, and into the values files, which are
made from what the services' own folders say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ci.config import Delivery, Environment
from ci.errors import Refused
from ci.scaffold.facts import ServiceFacts

NOT_YET = "none-yet"
HOLE = re.compile(r"<<([a-z_]+)>>")
ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
LAYOUT = {
    "target": ("environments/{environment}/{folder}.yaml", "image"),
    "chart": "charts/cloudopshub-service",
    "release": "{folder}",
    "values": (
        "services/{folder}.yaml",
        "environments/{environment}/common.yaml",
        "environments/{environment}/{folder}.yaml",
    ),
}
DRAIN_S = 5  # a Service takes a pod out of its endpoints within that, as a rule

# What a service must not start without, and may start without, of what is secret.
SECRETS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "das": (("DATABASE_URL", "SERVICE_TOKEN"), ()),
    "dis": (("DATABASE_URL", "SERVICE_TOKEN"), ()),
    "aps": (("DATABASE_URL", "SERVICE_TOKEN"), ()),
    "ubs": (
        ("DATABASE_URL", "SERVICE_TOKEN", "UBS_SECRET_KEY"),
        (
            "UBS_SETUP_TOKEN",
            "UBS_BOOTSTRAP_API_KEY",
            "UBS_BOOTSTRAP_EMAIL",
            "UBS_BOOTSTRAP_PASSWORD",
        ),
    ),
}
# CPU and memory asked for, limit of memory. Asked for is what caches hold when full (settings.py:
# das 1 GiB, dis 128 MiB) and the process itself, over the autoscaler's 0.8; the limit has room for
# the largest request.
RESOURCES: Mapping[str, tuple[str, str, str]] = {
    "das": ("250m", "1792Mi", "3584Mi"),
    "dis": ("250m", "768Mi", "2Gi"),
    "aps": ("100m", "192Mi", "512Mi"),
    "aps-worker": ("500m", "512Mi", "2Gi"),
    "ubs": ("100m", "192Mi", "512Mi"),
    "ui": ("50m", "64Mi", "128Mi"),
}
OTHERWISE = ("100m", "256Mi", "512Mi")


@dataclass(frozen=True)
class Addresses:
    """Where this installation lives. Those that nobody gave end in `.invalid`."""

    registry: str
    repo_url: str
    branch: str
    domain: str

    @property
    def account(self) -> str:
        """The AWS account of the registry; zeros when it is not of ECR."""
        match = ECR.fullmatch(self.registry)
        return match["account"] if match else "0" * 12

    @property
    def region(self) -> str:
        """The AWS region of the registry."""
        match = ECR.fullmatch(self.registry)
        return match["region"] if match else "eu-central-1"

    def host(self, environment: Environment, last: Environment) -> str:
        """The name people open: the domain itself in the last environment."""
        return self.domain if environment == last else f"{environment.name}.{self.domain}"


def manifest_repository(
    delivery: Delivery,
    facts: Sequence[ServiceFacts],
    addresses: Addresses,
    template: Mapping[str, str],
) -> dict[str, str]:
    """Every file of the repository by its path.

    template: the files of `template/` by path; charts are taken as they are.
    """
    _refuse_another_layout(delivery)
    environments = delivery.environments
    first, last = delivery.first, _last(environments)
    holes = {
        "repo_url": addresses.repo_url,
        "branch": addresses.branch,
        "first": first.name,
        "last": last.name,
        "account": addresses.account,
        "region": addresses.region,
        "namespaces": delivery.manifests.render.namespace.format(environment="*"),
        "environment_list": " → ".join(f"`{each.name}`" for each in environments),
        "environments": "\n".join(_element(delivery, each) for each in environments),
        "secrets": ", ".join(f"`{name}`" for name in _secret_names(facts)),
    }
    files = {}
    for path, text in template.items():
        if path.startswith("charts/"):
            files[path] = text
        elif path == "environments/common.yaml":
            for each in environments:
                host = addresses.host(each, last)
                named = {"environment": each.name, "host": host}
                # no dots: the certificate of S3 does not cover them
                named["bucket"] = f"cloudopshub-{each.name}-{addresses.domain.replace('.', '-')}"
                files[f"environments/{each.name}/common.yaml"] = _filled(text, holes | named, path)
        else:
            files[path] = _filled(text, holes, path)
    for fact in facts:
        files[f"services/{fact.service.folder}.yaml"] = _service(fact, facts)
        for each in environments:
            path = delivery.target(fact.service, each.name).file
            files[path] = _sizes(fact, each, delivery, addresses)
    return dict(sorted(files.items()))


def _refuse_another_layout(delivery: Delivery) -> None:
    manifests = delivery.manifests
    here = {
        "target": (manifests.target.file, manifests.target.key),
        "chart": manifests.render.chart,
        "release": manifests.render.release,
        "values": manifests.render.values,
    }
    other = [name for name, value in LAYOUT.items() if here[name] != value]
    if manifests.render.tool != "helm" or any(own.target for own in delivery.services) or other:
        raise Refused(
            "ci/ci.toml tells of another layout of the manifest repository than the one scaffold "
            f"writes ({', '.join(other) or 'tool, or a target of a service'}); "
            "`scaffold --check` works with any"
        )


def _last(environments: Sequence[Environment]) -> Environment:
    """The environment that nothing is promoted from; the last such one, where they are several."""
    sources = {each.promoted_from for each in environments}
    return [each for each in environments if each.name not in sources][-1]


def _filled(text: str, holes: Mapping[str, str], path: str) -> str:
    missing = sorted(set(HOLE.findall(text)) - holes.keys())
    assert not missing, f"template/{path} has holes that nobody fills: {missing}"
    return HOLE.sub(lambda found: holes[found[1]], text)


def _element(delivery: Delivery, environment: Environment) -> str:
    namespace = delivery.manifests.render.namespace.format(environment=environment.name)
    fields = (
        f"environment: {environment.name}, namespace: {namespace}, "
        'server: "https://kubernetes.default.svc", autoSync: "true"'
    )
    return f"                - {{{fields}}}"


def _secret_names(facts: Sequence[ServiceFacts]) -> list[str]:
    return sorted({name for fact in facts for name in SECRETS.get(fact.service.code, ((), ()))[0]})


def _service(fact: ServiceFacts, facts: Sequence[ServiceFacts]) -> str:
    """`services/<folder>.yaml`: what the service is, in every environment."""
    service, by_code = fact.service, {each.service.code: each for each in facts}
    keys, optional = SECRETS.get(service.code, ((), ()))
    is_page = service.package is None
    values: dict[str, Any] = {
        "containerPort": fact.image.port,
        "servicePort": fact.image.port,
        "runAsUser": fact.image.user,
        "runAsGroup": fact.image.group,
        "probes": {"live": "/health", "ready": service.ready},
        "metricsPath": "/metrics",
    }
    if service.migrate:
        values["migrate"] = service.migrate
    if is_page:
        # nginx writes its configuration from the variables when it starts; at SIGTERM it stops
        # taking connections at once, so it must not get one before routers know
        values["writable"] = {"/tmp": "256Mi", "/etc/nginx/conf.d": "1Mi"}  # noqa: S108  in a pod
        values["preStopSeconds"] = DRAIN_S
    if workers := _workers(fact):
        values["workers"] = workers
    values["config"] = _config(fact, by_code)
    values["configFromEnvironment"] = _of_environment(fact)
    if keys:
        values["secret"] = {"keys": [*keys], **({"optionalKeys": [*optional]} if optional else {})}
    if fact.uses_objects:
        values["serviceAccount"] = {"role": service.code}
    calls = {by_code[code].service.folder: by_code[code].image.port for code in fact.calls}
    values["networkPolicy"] = {
        "callers": [each.service.folder for each in facts if service.code in each.calls],
        "calls": calls,
        "postgres": fact.uses_postgres,
        "objectStore": fact.uses_objects,
    }
    if is_page:
        values["ingress"] = {"enabled": True}
    head = (
        f"# {service.folder}, in every environment: ports, user and callers as its folder says.\n"
    )
    return head + _yaml(values)


def _workers(fact: ServiceFacts) -> dict[str, Any]:
    """The processes beside the one that serves, each with the file that says it is alive."""
    service = fact.service
    return {
        name.removeprefix(f"{service.code}-"): {
            "args": ["python", "-m", module],
            "alive": {
                "variable": f"{service.code.upper()}_WORKER_ALIVE_FILE",
                "path": "/tmp/alive",  # noqa: S108  in a pod
                "maxAgeSeconds": 30,
            },
        }
        for name, module in service.processes.items()
        if name != service.code
    }


def _config(fact: ServiceFacts, by_code: Mapping[str, ServiceFacts]) -> dict[str, str]:
    """Variables that are the same in every environment: names within the namespace, mostly."""
    service = fact.service
    config = {}
    for code in fact.calls:
        other = by_code[code]
        where = f"{other.service.folder}:{other.image.port}"
        if f"{code.upper()}_UPSTREAM" in fact.image.variables:
            config[f"{code.upper()}_UPSTREAM"] = where
        else:
            config[f"{code.upper()}_URL"] = f"http://{where}"
    if service.code == "dis":
        config["DIS_SCRAPE_TARGETS"] = ",".join(
            f"{each.service.folder}=http://"
            f"{'127.0.0.1' if each is fact else each.service.folder}:{each.image.port}"
            f"{each.service.metrics}"
            for each in by_code.values()
        )
    if service.code == "ubs":
        config["UBS_PLAIN_HTTP"] = "false"
    if fact.drain:
        config[fact.drain] = str(DRAIN_S)
    return config


def _of_environment(fact: ServiceFacts) -> list[str]:
    """Names of the variables it takes from `common.yaml`."""
    names = ["LOG_LEVEL"] if fact.service.package else []
    if fact.uses_objects:
        names += ["AWS_REGION", "OBJECT_STORE_URL"]
    if fact.service.code == "ubs":
        names += ["UBS_TRUSTED_PROXIES", "UI_PUBLIC_URL"]
    return names


def _sizes(
    fact: ServiceFacts, environment: Environment, delivery: Delivery, addresses: Addresses
) -> str:
    """`environments/<environment>/<folder>.yaml`: image, replicas, resources."""
    is_first = environment.promoted_from is None
    repository = f"{addresses.registry}/{delivery.registry.repository(fact.service)}"
    values: dict[str, Any] = {
        "replicas": 1 if is_first else 2,
        "resources": _resources(fact.service.code),
        "autoscaling": {"enabled": not is_first, "minReplicas": 2, "maxReplicas": 6},
    }
    if workers := _workers(fact):
        values["workers"] = {
            name: {
                "replicas": 1 if is_first else 2,
                "resources": _resources(f"{fact.service.code}-{name}"),
            }
            for name in workers
        }
    return (
        f"# {fact.service.folder} in {environment.name}. `ci` writes the image; "
        f"{NOT_YET} stands where nothing was delivered.\n"
        f'image:\n  repository: {repository}\n  tag: "{NOT_YET}"\n\n'
    ) + _yaml(values)


def _resources(name: str) -> dict[str, Any]:
    """Memory has a limit, CPU has none: a limit on CPU only makes idle cores useless."""
    cpu, memory, limit = RESOURCES.get(name, OTHERWISE)
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=1000)
