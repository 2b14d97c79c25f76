"""An edit goes through the render gate: what is rendered before and after, and how that is told."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ci.bump import render_gate
from ci.bump.ledger import Entry
from ci.bump.render_gate import Expected, Object
from ci.config import Delivery
from ci.errors import Refused
from ci.model import Catalogue, Service
from ci.tools.git import PrivateClone
from ci.tools.kube_yaml import DoesNotRender

RENDERS_AT_ONCE = 4
Objects = Sequence[Object]
# (folder, service, environment, edited) → what the manifests in the folder make of the service
Renderer = Callable[[Path, Service, str, bool], Objects]


@dataclass(frozen=True)
class Gate:
    """What an edit is rendered with. at: told of each step once it is done."""

    repo: PrivateClone
    catalogue: Catalogue
    delivery: Delivery
    render: Renderer
    at: Callable[[str], None]

    def write(self, entry: Entry, edits: Mapping[str, bytes]) -> None:
        """The edits are written; `Refused` when the rendering changes more than the images."""
        groups: dict[tuple[str, ...], list[Service]] = {}  # those that one rendering shows together
        for change in entry.delivered:
            service = self.catalogue.service(change.code)
            if self.delivery.target(service, entry.environment).file in edits:
                shows = self.delivery.manifests.render.what_it_shows(service, entry.environment)
                groups.setdefault(shows, []).append(service)
        services = list(groups.values())
        before = self._rendered(services, entry.environment, edited=False)
        self.repo.write(edits)
        self.at("written")
        after = self._rendered(services, entry.environment, edited=True)
        self.at("rendered")
        if self.delivery.manifests.render.tool == "none":
            return
        if lines := [
            f"{group[0].folder}: {line}"
            for group, old, new in zip(services, before, after, strict=True)
            for line in self._refusals(entry, group, old, new)
        ]:
            text = "\n  ".join(["rendered, this edit does more than change the images:", *lines])
            raise Refused(text, status="rendering", refusals=lines)

    def _rendered(
        self, groups: Sequence[Sequence[Service]], environment: str, *, edited: bool
    ) -> list[Objects]:
        """What each group renders to; one `Refused` names every service whose chart is broken."""

        def one(services: Sequence[Service]) -> Objects | DoesNotRender:
            try:
                return self.render(self.repo.folder, services[0], environment, edited)
            except DoesNotRender as refused:
                return refused

        with ThreadPoolExecutor(RENDERS_AT_ONCE) as pool:
            results = list(pool.map(one, groups))
        if broken := [result for result in results if isinstance(result, DoesNotRender)]:
            codes = [refused.facts.get("service") for refused in broken]
            text = "\n".join(map(str, broken))
            raise DoesNotRender(text, services=codes, broken_before=not edited)
        return [result for result in results if not isinstance(result, DoesNotRender)]

    def _refusals(
        self, entry: Entry, services: Sequence[Service], old: Objects, new: Objects
    ) -> list[str]:
        """What one rendering shows that it must not; rendered once more to see what never stays."""
        images = {change.code: change.image for change in entry.delivered}
        targets = [(s, self.delivery.target(s, entry.environment)) for s in services]
        expected = Expected(
            {service.image: target.pinned(images[service.code]) for service, target in targets},
            self.delivery.manifests.render.may_change,
            {service.image for service, target in targets if target.read_elsewhere},
        )
        if not render_gate.refusals(old, new, expected):
            return []
        again = self.render(self.repo.folder, services[0], entry.environment, True)
        unstable = render_gate.unstable(new, again)
        return render_gate.refusals(old, new, replace(expected, unstable=unstable))
