"""A push, all the way, on this machine: the real Jenkinsfile, a registry, git, Helm.

What is committed here is pushed to a git server of its own, tested, built, pushed to a registry
behind an ECR-shaped door, and handed to a manifest repository that `ci scaffold` wrote; then the
manifests are rendered and validated. The checkout itself is never written to. Needs a Docker
engine, Groovy (Debian: groovy) and a registry (Debian: docker-registry). Things are kept in
.cache/pipeline, so a second push does only what changed.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "the whole pipeline on this machine"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    what = parser.add_argument_group("what is pushed")
    what.add_argument(
        "--touch",
        metavar="CODE",
        action="append",
        default=[],
        help="a commit that changes this service's image",
    )
    what.add_argument(
        "--only",
        metavar="CODE",
        action="append",
        default=[],
        help="as --touch, and the others count as built by an earlier build",
    )
    what.add_argument("--no-change", action="store_true", help="a commit that changes nothing")
    what.add_argument("--break-test", metavar="CODE", help="a commit with a failing test")
    what.add_argument("--branch", default="main", help="push this branch instead of main")
    what.add_argument("--change", metavar="N", help="as pull request N")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="(.cache/pipeline)")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs first")
    parser.add_argument("--keep-running", action="store_true", help="servers stay until Ctrl-C")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The push went all the way, or was stopped where it had to be."""
    from ci.local import pipeline  # noqa: PLC0415

    wish = pipeline.Wish(
        branch=arguments.branch,
        change=arguments.change,
        touch=tuple(arguments.touch),
        only=tuple(arguments.only),
        break_test=arguments.break_test,
        no_change=arguments.no_change,
    )
    folder = (arguments.folder or context.settings.cache_dir / "pipeline").absolute()
    return pipeline.main(context, folder, wish, fresh=arguments.fresh, keep=arguments.keep_running)
