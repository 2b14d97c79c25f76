"""The ci.toml of a test's own repository: never the settings of this one, which users edit."""

from dataclasses import replace
from pathlib import Path

from ci import config

DELIVERY = (Path(__file__).parent / "golden" / "delivery.toml").read_text(encoding="utf-8")

ENTRY = """
[[service]]
folder = "{folder}"
code = "{code}"
image = "{image}"
port = {port}
ready = "/ready"
metrics = "/metrics"
processes = {{ {code} = "serve" }}
"""


def entry(folder, code, image, port):
    """One service without a package of its own."""
    return ENTRY.format(folder=folder, code=code, image=image, port=port)


def entries(codes):
    """Services named by their codes alone."""
    return "".join(
        entry(f"{code}-service", code, f"cloudopshub-{code}", 8000 + number)
        for number, code in enumerate(codes)
    )


def configured(services):
    """A whole ci.toml of these services."""
    listed = [
        entry(service.folder, service.code, service.image, service.port) for service in services
    ]
    return "twin = []\n" + "".join(listed) + DELIVERY


def delivery(catalogue, **environ):
    """How these services are delivered."""
    return config.parse(configured(catalogue.services), environ)


def linked(catalogue, folder):
    """The same services, found below `folder`, where a ci.toml of the tests' own stands."""
    (folder / "ci").mkdir(parents=True, exist_ok=True)
    (folder / "ci" / "ci.toml").write_text(configured(catalogue.services))
    for path in catalogue.root.iterdir():
        if path.name != "ci" and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return replace(catalogue, root=folder)
