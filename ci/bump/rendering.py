"""An edit goes through the render gate: what is rendered before and after, and how that is told."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ci.bump import render_gate
from ci.bump.ledger import Entry
from ci.bump.manifest_repo import ManifestRepo
from ci.config import Delivery
from ci.errors import Refused
from ci.manifests import ScalarChange
from ci.model import Catalogue, Service

RENDERS_AT_ONCE = 4
SETTINGS = """what allows more (ci/ci.toml):
  [manifests.render] may_change = ["<path in an object>", "<Kind name>"]: a field, an object
  pin = "tag" ([manifests], or a target): a tag that the chart puts into labels, names, settings
  read_elsewhere = true (a target): an image that this rendering does not show"""

Objects = Sequence[Mapping[str, Any]]
# (folder, service, environment, edited) → what the manifests in the folder make of the service
Renderer = Callable[[Path, Service, str, bool], Objects]


@dataclass(frozen=True)
class Gate:
    """What an edit is rendered with. at: told of each step once it is done."""

    repo: ManifestRepo
    catalogue: Catalogue
    delivery: Delivery
    render: Renderer
    at: Callable[[str], None]

    def write(
        self,
        entry: Entry,
        edits: Mapping[str, bytes],
        changes: Mapping[str, Sequence[ScalarChange]],
    ) -> None:
        """The edits are written; `Refused` when the rendering changes more than the images."""
        groups = self._groups(entry, edits)
        before = self._rendered(groups, entry.environment, edited=False)
        self.repo.write(edits)
        self.at("written")
        after = self._rendered(groups, entry.environment, edited=True)
        self.at("rendered")
        if self.delivery.manifests.render.tool == "none":
            return
        lines = [
            f"{services[0].folder}: {line}"
            for services, old, new in zip(groups, before, after, strict=True)
            for line in self._refusals(entry, services, old, new, changes)
        ]
        if lines:
            text = "\n  ".join(["rendered, this edit does more than change the images:", *lines])
            raise Refused(f"{text}\n{SETTINGS}", status="rendering", refusals=lines)

    def _refusals(
        self,
        entry: Entry,
        services: Sequence[Service],
        old: Objects,
        new: Objects,
        changes: Mapping[str, Sequence[ScalarChange]],
    ) -> list[str]:
        images = {change.code: change.image for change in entry.delivered}
        targets = [(s, self.delivery.target(s, entry.environment)) for s in services]
        elsewhere = [target.file for _, target in targets if target.read_elsewhere]
        texts = {
            change.old: change.new
            for file in elsewhere
            for change in changes.get(file, ())
            if change.old
        }
        refusals = partial(
            render_gate.refusals,
            old,
            new,
            {service.image: target.pinned(images[service.code]) for service, target in targets},
            self.delivery.manifests.render.may_change,
            elsewhere=texts if elsewhere else None,
        )
        if not refusals():
            return []
        # a second rendering tells what is never the same twice
        return refusals(again=self.render(self.repo.folder, services[0], entry.environment, True))

    def _rendered(
        self, groups: Sequence[Sequence[Service]], environment: str, *, edited: bool
    ) -> list[Objects]:
        """What each group renders to; one `Refused` names every service whose chart is broken."""

        def one(services: Sequence[Service]) -> Objects | Refused:
            try:
                return self.render(self.repo.folder, services[0], environment, edited)
            except Refused as refused:
                return refused

        with ThreadPoolExecutor(RENDERS_AT_ONCE) as pool:
            results = list(pool.map(one, groups))
        broken = [result for result in results if isinstance(result, Refused)]
        if len(broken) == 1:
            raise broken[0]
        if broken:
            text = "\n".join(str(refused) for refused in broken)
            codes = [refused.facts.get("service") for refused in broken]
            status = broken[0].status
            raise Refused(text, status=status, services=codes, broken_before=not edited)
        return [result for result in results if not isinstance(result, Refused)]

    def _groups(self, entry: Entry, edits: Mapping[str, bytes]) -> list[list[Service]]:
        """The edited services, those together that one rendering shows (an umbrella chart)."""
        render = self.delivery.manifests.render
        groups: dict[tuple[str, ...], list[Service]] = {}
        for change in entry.delivered:
            service = self.catalogue.service(change.code)
            if self.delivery.target(service, entry.environment).file in edits:
                key = render.what_it_shows(service, entry.environment)
                groups.setdefault(key, []).append(service)
        return list(groups.values())
