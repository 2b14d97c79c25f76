"""The facts of this build: the build server's variables beside what git says; may it publish."""

from ci.config import Delivery
from ci.context import Context
from ci.errors import Refused
from ci.plan import build_facts
from ci.plan.build_facts import BuildFacts
from ci.tools.source_repo import SourceRepo


def gather(context: Context) -> BuildFacts:
    """Who builds what, here and now."""
    repo = SourceRepo(context.root)
    return build_facts.read(
        context.environ, commit=repo.commit, committed_at=repo.committed_at, dirty=repo.is_dirty
    )


def publishing(context: Context, delivery: Delivery) -> BuildFacts:
    """The facts of this build, when it may publish; `Refused` otherwise."""
    facts = gather(context)
    expected = context.environ.get("GIT_COMMIT")
    if why := build_facts.may_not_publish(facts, delivery.branch, expected):
        raise Refused(f"nothing is published: {why}", status="may_not_publish")
    return facts


def refuse_elsewhere(context: Context, delivery: Delivery) -> None:
    """`Refused` in a build of what nobody has merged yet; a laptop and a plain job are none."""
    said, branch = context.environ.get, context.environ.get("BRANCH_NAME")
    rules = (
        (change := said("CHANGE_ID"), f"pull request {change}"),
        (tag := said("TAG_NAME"), f"the tag {tag!r}"),
        (branch and branch != delivery.branch, f"branch {branch!r}, not of {delivery.branch!r}"),
    )
    if what := next((what for forbidden, what in rules if forbidden), None):
        text = f"this is a build of {what}; it never changes what runs"
        raise Refused(text, status="may_not_publish")
