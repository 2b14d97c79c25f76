"""The facts of this build: the build server's variables beside what git says."""

from ci.context import Context
from ci.delivery import build_facts
from ci.delivery.build_facts import BuildFacts
from ci.tools.source_repo import SourceRepo


def gather(context: Context) -> BuildFacts:
    """Who builds what, here and now."""
    repo = SourceRepo(context.root)
    return build_facts.read(
        context.environ, commit=repo.commit, committed_at=repo.committed_at, dirty=repo.is_dirty
    )
