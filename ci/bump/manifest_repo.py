"""The repository that Argo CD follows, in a private clone: what stands in it, and how it changes.

It is also the database of deliveries: `history()` is what `ledger` reads.
"""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ci.bump import ledger
from ci.config import ManifestsConfig
from ci.errors import OutsideFault, Refused
from ci.model import Ledger
from ci.tools.git import PrivateClone, private_clone

FILE, PROGRAM, LINK = "100644", "100755", "120000"
PAUSES_S = (0.5, 2.0)


@dataclass
class ManifestRepo(PrivateClone):
    """One branch of the manifest repository, as it was at `head`."""

    sleep: Callable[[float], None] = time.sleep

    def paths(self) -> list[str]:
        """All files, links and submodules left out, in order."""
        return sorted(path for path, mode in self.entries().items() if mode in {FILE, PROGRAM})

    def read(self, path: str) -> bytes:
        """The bytes of a file; `Refused` when there is none, or it is a link or behind one."""
        return self._file(path).read_bytes()

    def write(self, edits: Mapping[str, bytes]) -> None:
        """The files hold these bytes; nothing is committed yet."""
        for path, content in edits.items():
            self._file(path).write_bytes(content)

    def ledger(self) -> Ledger:
        """What the history tells of deliveries."""
        return ledger.read(self.history())

    def refresh(self) -> str:
        """Forget what was written or committed here; stand where the server stands now.

        A fetch changes nothing, so one that fails for reasons of the network is tried again.
        """
        for pause_s in PAUSES_S:
            with contextlib.suppress(OutsideFault):
                super().refresh()
                break
            self.sleep(pause_s)
        else:
            super().refresh()
        self._refuse_links_that_leave()
        return self.head

    def _file(self, path: str) -> Path:
        parts = PurePosixPath(path)
        if parts.is_absolute() or not parts.parts or {"..", ".git"} & set(parts.parts):
            raise Refused(f"{path!r} is not a path within the manifest repository", status="path")
        file = self.folder / path
        within = [file, *file.parents][: len(parts.parts)]
        if any(each.is_symlink() for each in within):
            raise Refused(f"{path} is a symbolic link, or behind one", status="symlink", file=path)
        if not file.is_file():
            raise Refused(f"{path} is not in the manifest repository", status="no_file", file=path)
        return file

    def _refuse_links_that_leave(self) -> None:
        """Helm follows links, so one that leaves the clone would show it files of this machine."""
        for path, mode in self.entries().items():
            if mode != LINK:
                continue
            link = self.folder / path
            target = link.readlink()
            inside = not _in_a_circle(link) and link.resolve().is_relative_to(self.folder.resolve())
            if not inside:
                text = f"{path} is a symbolic link that leaves the repository, or itself ({target})"
                raise Refused(text, status="symlink", file=path)


def _in_a_circle(link: Path) -> bool:
    """Whether following the link never ends, which Helm does not survive either."""
    try:
        link.stat()
    except OSError as exc:
        return exc.errno == errno.ELOOP
    return False


@contextlib.contextmanager
def checkout(
    config: ManifestsConfig,
    environ: Mapping[str, str],
    author: tuple[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    own_branch: str | None = None,
) -> Iterator[ManifestRepo]:
    """A fresh private clone; author: who commits, the one in `ci.toml` when not said.

    own_branch: where commits go for a pull request; None: to the branch of `ci.toml` itself.
    """
    with private_clone(config.url, config.branch, environ, own_branch) as clone:
        if config.require_signature and not clone.signing:
            text = "commits must be signed ([manifests] require_signature); set COMMIT_SIGNING_KEY"
            raise Refused(text, status="unsigned")
        clone.author = author or (config.author_name, config.author_email)
        repo = ManifestRepo(**vars(clone), sleep=sleep)
        repo.refresh()
        yield repo
