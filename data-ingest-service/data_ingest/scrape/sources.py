"""Where scrape jobs and their targets are read, again and again: files and other servers.

    jobs file ─ changed? ─▶ jobs ─▶ each: static, file_sd, http_sd ─▶ discover ─▶ targets

What cannot be read now leaves what was read before; that is logged when it begins and ends.
"""

import asyncio
import glob
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import structlog
from pydantic import TypeAdapter, ValidationError

from data_ingest.scrape.access import Clients
from data_ingest.scrape.fetch import Failure, fetch
from data_ingest.scrape.jobs import (
    AddressList,
    Discovered,
    HttpSd,
    Job,
    StaticConfig,
    discover,
    read,
)
from data_ingest.scrape.state import CONFIG, UNREAD, Conditions
from data_ingest.scrape.targets import shown_url
from data_ingest.scrape.words import BadJobs, explained, parsed_yaml

HTTP_SD_TIMEOUT_S: Final = 10.0
LIST_BYTES_MAX: Final = 8 * 1024 * 1024
_LISTS: Final = TypeAdapter(tuple[StaticConfig, ...])
Stamp = tuple[int, int]
"""Time and size of a file: what changes with its content."""

log = structlog.get_logger()


@dataclass(slots=True)
class JobSources:
    """One job's lists of addresses, by where they were read, and the targets in them."""

    job: Job
    folder: Path
    discovered: Discovered = field(init=False)
    _lists: dict[str, list[AddressList]] = field(default_factory=dict)
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    _due_s: dict[str, float] = field(default_factory=dict)
    _conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self._conditions = Conditions({"job": self.job.job_name})
        configs = enumerate(self.job.static_configs)
        static = [AddressList(f"static_configs[{i}]", config) for i, config in configs]
        self._lists[""] = static
        self.discovered = discover(self.job, static)

    def read_files(self) -> None:
        """The lists in the files of file_sd_configs are those of now. Blocks."""
        names = {
            name
            for config in self.job.file_sd_configs
            for pattern in config.files
            for name in glob.glob(str(self.folder / pattern))  # noqa: PTH207 - may be absolute
        }
        for name in self._stamps.keys() - names:
            del self._stamps[name]
            self._conditions.say(UNREAD, "", source=name)
            self._put(name, [])
        for name in sorted(names):
            path = Path(name)
            try:
                if self._stamps.get(name) != (stamp := stamp_of(path)):
                    text = path.read_text()
                    is_json = path.suffix == ".json"
                    given = json.loads(text) if is_json else parsed_yaml(text, path.name)
                    self._put(name, listed(given, path.name, ("__meta_filepath", name)))
                    self._stamps[name] = stamp
            except Exception as error:  # noqa: BLE001 - one job's list stops no other's
                self._stamps.setdefault(name, (0, 0))
                self._conditions.say(UNREAD, str(error), source=name)
            else:
                self._conditions.say(UNREAD, "", source=name)

    async def ask_servers(self, clients: Clients, now_s: float) -> None:
        """The lists of http_sd_configs are those of now, where they are due."""
        for i, config in enumerate(self.job.http_sd_configs):
            source = f"http_sd_configs[{i}]"
            if self._due_s.get(source, 0.0) > now_s:
                continue
            self._due_s[source] = now_s + config.refresh_interval
            cause = reason = ""
            try:
                async with asyncio.timeout(HTTP_SD_TIMEOUT_S):
                    answer = await self._ask(clients, config)
                await anyio.to_thread.run_sync(self._take, source, config, *answer)
            except TimeoutError:
                cause = f"no answer within {HTTP_SD_TIMEOUT_S:g} s"
            except Failure as error:
                cause, reason = error.cause, error.reason
            except Exception as error:  # noqa: BLE001 - one job's answer stops no other's
                cause, reason = type(error).__name__, str(error)
            self._conditions.say(UNREAD, cause, reason, source)

    async def _ask(self, clients: Clients, config: HttpSd) -> tuple[bytes, str]:
        return await fetch(
            clients,
            config.url,
            config,
            {
                "Accept": "application/json",
                "X-Prometheus-Refresh-Interval-Seconds": f"{config.refresh_interval:g}",
            },
            is_guarded=self.job.tenant is not None,
            timeout_s=HTTP_SD_TIMEOUT_S,
            bytes_max=LIST_BYTES_MAX,
        )

    def _take(self, source: str, config: HttpSd, body: bytes, content_type: str) -> None:
        """The lists of the server are those in its answer; ValueError when it has none. Blocks."""
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise ValueError("its content type is not application/json")
        self._put(source, listed(json.loads(body), source, ("__meta_url", shown_url(config.url))))

    def _put(self, source: str, lists: list[AddressList]) -> None:
        """The lists from there are these; what is wrong in any is logged.

        Whatever is raised, the lists and targets are those of before.
        """
        if lists == self._lists.get(source, []):
            return
        all_lists = {**self._lists, source: lists}
        self.discovered = discover(self.job, [one for ones in all_lists.values() for one in ones])
        self._lists = all_lists
        self._conditions.say(UNREAD, "; ".join(self.discovered.faults[:5]))


@dataclass(slots=True)
class Jobs:
    """The jobs of the file `path`."""

    path: Path
    body_bytes_max: int
    sources: list[JobSources] = field(default_factory=list)
    _stamp: Stamp = (0, 0)
    _conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self._conditions = Conditions({"file": str(self.path)})

    def load(self) -> None:
        """The jobs are those in the file; unchanged ones keep what they know. BadJobs. Blocks."""
        try:
            stamp, text = stamp_of(self.path), self.path.read_text()
        except (OSError, UnicodeDecodeError) as exc:
            raise BadJobs(detail=f"{self.path} cannot be read: {exc}") from None
        before = {sources.job.job_name: sources for sources in self.sources}
        made: list[JobSources] = []
        for job in read(text, self.path, self.body_bytes_max):
            old = before.get(job.job_name)
            made.append(old if old and old.job == job else checked_sources(job, self.path))
        self.sources, self._stamp = made, stamp

    def read_files(self) -> None:
        """All that is read from files is as it is now, where it can be used. Blocks."""
        try:
            if stamp_of(self.path) != self._stamp:
                self.load()
                self._conditions.say(CONFIG, "")
                log.info("scrape_config_loaded", file=str(self.path), jobs=len(self.sources))
        except (OSError, BadJobs) as error:
            self._conditions.say(CONFIG, str(error))
        for sources in self.sources:
            sources.read_files()

    async def ask_servers(self, clients: Clients, now_s: float) -> None:
        """All lists of other servers that are due have been asked for."""
        await asyncio.gather(*(one.ask_servers(clients, now_s) for one in self.sources))

    def discovered(self) -> Discovered:
        """The targets of all jobs."""
        discovered_of_jobs = [sources.discovered for sources in self.sources]
        return Discovered(
            tuple(target for one in discovered_of_jobs for target in one.targets),
            tuple(dropped for one in discovered_of_jobs for dropped in one.dropped),
        )


def checked_sources(job: Job, file: Path) -> JobSources:
    """The sources of a job whose file of authorities can be read and whose addresses are right."""
    where = f"{file}: job {job.job_name!r}"
    for tls in (job.tls_config, *(config.tls_config for config in job.http_sd_configs)):
        try:
            if tls.ca_file:
                tls.context()
        except OSError as exc:
            raise BadJobs(detail=f"{where}: ca_file {tls.ca_file}: {exc}") from None
    sources = JobSources(job, file.parent)
    if sources.discovered.faults:
        raise BadJobs(detail=f"{where}: {sources.discovered.faults[0]}")
    return sources


def listed(given: Any, source: str, about: tuple[str, str]) -> list[AddressList]:
    """What a file or server gives as lists of addresses; ValueError says where it is none."""
    try:
        lists = _LISTS.validate_python(given)
    except ValidationError as exc:
        raise ValueError(explained(exc)) from None
    return [AddressList(source, one, (about,)) for one in lists]


def stamp_of(path: Path) -> Stamp:
    """Time and size of the file; OSError when there is none."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size
