"""`ci local`: `make pipeline`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ci.context import Context
from ci.outcome import Outcome
from ci.tests.lab import pipeline


@click.command()
@click.option(
    "--touch", metavar="CODE", multiple=True, help="push a commit that changes this image"
)
@click.option(
    "--only",
    metavar="CODE",
    multiple=True,
    help="as --touch, and the others count as built by an earlier build",
)
@click.option("--no-change", is_flag=True, help="push a commit that changes nothing")
@click.option("--break-test", metavar="CODE", help="push a commit with a failing test")
@click.option("--branch", default="main", help="push this branch instead of main")
@click.option("--change", metavar="N", help="as pull request N")
@click.option("--folder", metavar="DIR", type=click.Path(path_type=Path), help="(.cache/pipeline)")
@click.option("--fresh", is_flag=True, help="forget earlier runs first")
@click.option("--keep-running", is_flag=True, help="servers stay until Ctrl-C")
def local(
    context: Context,
    touch: Sequence[str],
    only: Sequence[str],
    break_test: str | None,
    branch: str,
    change: str | None,
    folder: Path | None,
    *,
    no_change: bool,
    fresh: bool,
    keep_running: bool,
) -> Outcome:
    """A push, all the way, on this machine: the real Jenkinsfile, a registry, git, Helm.

    What is committed here is pushed to a git server of its own, tested, built, pushed to a registry
    behind an ECR-shaped door, and handed to a manifest repository that `ci scaffold` wrote; then
    the manifests are rendered and validated. The checkout itself is never written to. Needs a
    Docker engine, Groovy (Debian: groovy) and a registry (Debian: docker-registry). Things are kept
    in .cache/pipeline, so a second push does only what changed.
    """
    wish = pipeline.Wish(
        branch=branch,
        change=change,
        touch=tuple(touch),
        only=tuple(only),
        break_test=break_test,
        no_change=no_change,
    )
    place = (folder or context.settings.cache_dir / "pipeline").absolute()
    return pipeline.main(context, place, wish, fresh=fresh, keep=keep_running)
