"""What the folders of the services say about themselves, so that manifests need not say it again.

Dockerfile   ─▶ port, user, variables of the image
settings.py  ─▶ whose URL it reads, so whom it calls; how its pause before the end is called
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ci.errors import Defect
from ci.model import Catalogue, Service

SETTINGS = ("settings.py", "chassis/settings.py")
INSTRUCTION = re.compile(r"^(?P<name>[A-Z]+)\s+(?P<rest>.*)$")
VARIABLE = re.compile(r'([A-Z][A-Z0-9_]*)=("[^"]*"|\S*)')


@dataclass(frozen=True)
class ImageFacts:
    """The last stage of a Dockerfile. user, group: numeric; a USER without a group has its own."""

    port: int
    user: int
    group: int
    variables: Mapping[str, str]


@dataclass(frozen=True)
class ServiceFacts:
    """A service beside what `ci.toml` says of it. calls: codes. drain: the variable's name."""

    service: Service
    image: ImageFacts
    calls: tuple[str, ...]
    drain: str | None
    uses_postgres: bool
    uses_objects: bool


def read(catalogue: Catalogue) -> tuple[ServiceFacts, ...]:
    """The facts of every service, from its folder."""
    codes = [service.code for service in catalogue.services]
    listed = []
    for service in catalogue.services:
        folder = catalogue.root / service.folder
        image = image_facts((folder / "Dockerfile").read_text(encoding="utf-8"), service.folder)
        text = ""
        if service.package:
            files = [folder / service.package / name for name in SETTINGS]
            text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        listed.append(service_facts(service, image, text, codes))
    return tuple(listed)


def service_facts(
    service: Service, image: ImageFacts, settings: str, codes: list[str]
) -> ServiceFacts:
    """The facts of one service; settings: the text of its settings module, empty for the page."""
    named = {field.lower() for field in re.findall(r"^    (\w+): ", settings, re.MULTILINE)}
    prefix = f"{service.code}_"
    drains = named & {"drain_s", f"{prefix}drain_s"}
    return ServiceFacts(
        service=service,
        image=image,
        calls=tuple(
            code
            for code in codes
            if code != service.code
            and (f"{code}_url" in named or f"{code.upper()}_UPSTREAM" in image.variables)
        ),
        drain=f"{service.code.upper()}_DRAIN_S" if drains else None,
        uses_postgres="database_url" in named,
        uses_objects="object_store_url" in named,
    )


def image_facts(dockerfile: str, where: str) -> ImageFacts:
    """What the last stage of `dockerfile` fixes; `Defect` when it leaves the port or user open."""
    port = user = None
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\n\s*", " ", dockerfile).splitlines():
        if not (found := INSTRUCTION.match(line)):
            continue
        name, rest = found["name"], found["rest"].strip()
        if name == "FROM":
            port, user, variables = None, None, {}
        elif name == "ENV":
            variables |= {key: value.strip('"') for key, value in VARIABLE.findall(rest)}
        elif name == "EXPOSE":
            port = rest.partition("/")[0]
        elif name == "USER":
            user = rest
    if port is None or not port.isdigit():
        raise Defect(f"{where}/Dockerfile does not EXPOSE a port")
    if user is None or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", user):
        raise Defect(f"{where}/Dockerfile: USER {user} is not a number, so nobody can check it")
    uid, _, gid = user.partition(":")
    return ImageFacts(int(port), int(uid), int(gid or uid), variables)
