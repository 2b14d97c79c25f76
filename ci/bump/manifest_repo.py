"""The repository that Argo CD follows, in a private clone: also the database of deliveries."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from ci.bump import ledger
from ci.config import ManifestsConfig
from ci.model import Ledger
from ci.tools import scratch
from ci.tools.git import PrivateClone


class ManifestRepo(PrivateClone):
    """One branch of the manifest repository, as it was at `head`."""

    def ledger(self) -> Ledger:
        """What the history tells of deliveries."""
        return ledger.read(self.history())


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
    with scratch.folder("manifests") as kept:
        repo = ManifestRepo(kept, config, environ, own_branch, sleep)
        repo.author = author or repo.author
        repo.refresh()
        yield repo
