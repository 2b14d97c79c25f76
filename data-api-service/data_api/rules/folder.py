"""Rule files of the operator: `<folder>/*.yml` are the home organisation's,
`<folder>/<tenant>/*.yml` another one's. Each is a namespace that the API shows and does not change.
"""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import anyio.to_thread
import structlog

from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest
from data_api.rules import parsing
from data_api.rules.repository import FOLDER, Rules

SUFFIXES: Final = (".yml", ".yaml")
log = structlog.get_logger()

FindHome = Callable[[], Awaitable[UUID | None]]
Seen = tuple[tuple[str, int, int], ...]


class RuleFolder:
    """Keeps the database at what the folder says."""

    def __init__(self, folder: Path, rules: Rules, find_home: FindHome) -> None:
        self._folder = folder
        self._rules = rules
        self._find_home = find_home
        self._seen: Seen | None = None

    async def sync(self) -> None:
        """The groups of all files are in the database, if a file changed since the last time.

        A file that cannot be read changes nothing: what it said before goes on, and the log has
        each fault. Raises OSError where there is no such folder, as when it is not mounted, and
        ServiceError where database or ubs do not answer; then nothing changes, either.
        """
        seen = await anyio.to_thread.run_sync(self._look)
        if seen == self._seen:
            return
        home = await self._find_home()
        wanted = set()
        for tenant, path in self._files(home):
            namespace = f"{FOLDER}{path.name}"
            wanted.add((tenant, namespace))
            try:
                text = await anyio.to_thread.run_sync(path.read_text)
                groups = await anyio.to_thread.run_sync(
                    parsing.parse_file, text, namespace, self._rules.bounds
                )
                await self._rules.put(tenant, namespace, groups, whole=True)
            except (OSError, UnicodeDecodeError, BadRequest) as exc:
                reason = exc.describe() if isinstance(exc, ServiceError) else str(exc)
                log.error("rule_file_refused", file=str(path), reason=reason)  # noqa: TRY400 - the file is at fault
        await self._rules.keep_files(wanted)
        self._seen = seen if home is not None else None

    def _look(self) -> Seen:
        paths = [path for _, path in self._files(UUID(int=0))]
        stats = [(str(path), path.stat()) for path in paths]
        return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)

    def _files(self, home: UUID | None) -> Iterator[tuple[UUID, Path]]:
        """Each file with its tenant; those of the home organisation once there is one."""
        is_none = self._folder.exists() and not self._folder.is_dir()  # such as /dev/null
        for path in () if is_none else sorted(self._folder.iterdir()):
            if path.is_dir():
                try:
                    tenant = UUID(path.name)
                except ValueError:
                    continue
                yield from ((tenant, one) for one in sorted(path.iterdir()) if _is_rules(one))
            elif home is not None and _is_rules(path):
                yield home, path


def _is_rules(path: Path) -> bool:
    return path.suffix in SUFFIXES and path.is_file()
