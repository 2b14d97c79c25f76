"""What the handshake and its rules are given in earnest: Helm, the registry."""

from collections.abc import Callable
from pathlib import Path

from ci.bump.handshake import Means
from ci.bump.rendering import Objects
from ci.config import Delivery
from ci.context import Context
from ci.errors import CiError, OutsideFault
from ci.model import ImageRef, Service
from ci.tools import helm
from ci.tools.ecr import Registry

CANNOT_ASK = {"no_credentials", "no_region", "not_allowed"}  # a person's laptop, in a hurry


def real(context: Context, delivery: Delivery) -> Means:
    """The renderer that `ci.toml` names, found only when something is rendered with it."""
    config = delivery.manifests.render
    if config.tool == "none":
        return Means(render=lambda *_: ())
    program = helm.find(context.settings.cache_dir, context.environ)

    def render(folder: Path, service: Service, environment: str, edited: bool) -> Objects:
        return program.render(folder, config, service, environment, edited=edited)

    return Means(render)


def why_not_again(context: Context, delivery: Delivery) -> Callable[[ImageRef], str | None]:
    """Whether the registry still has an image under its tag and digest.

    A registry that cannot be reached says nothing; that is told, and does not stop a rollback.
    """

    def why_not(image: ImageRef) -> str | None:
        address = delivery.registry.address
        host, _, name = image.repository.partition("/")
        if not address or host != address:
            context.screen.line(f"  not verified: {image} is in no registry that is configured")
            return None
        try:
            stored = Registry(address, context.environ).find(name, image.tag)
        except CiError as error:
            if not isinstance(error, OutsideFault) and error.status not in CANNOT_ASK:
                raise
            context.screen.line(f"  not verified, the registry was not asked: {error}")
            return None
        if stored is None:
            return "the registry does not have it any more"
        if image.digest and stored.digest != image.digest:
            return f"under this tag the registry has {stored.digest}"
        return None

    return why_not
