"""The commands of the platform on this machine."""

import asyncio
from collections.abc import Sequence

import click

from ci import environments
from ci.catalogue import find
from ci.context import Context
from ci.native import compose, control, launcher
from ci.outcome import Outcome


@click.command()
def run(context: Context) -> Outcome:
    """The whole platform on this machine until Ctrl-C. Settings are variables: ci/README.md."""
    if context.dry_run:
        services = ", ".join(service.code for service in context.catalogue.services)
        text = f"would start PostgreSQL, {services} with data in {context.settings.data_dir}"
        return Outcome("done", text)
    launcher.main(context.catalogue, context.settings)
    return Outcome("done", "")


@click.command()
def ps(context: Context) -> Outcome:
    """What a run here consists of; exit code 4 when a part is not ready or nothing runs."""
    return control.processes(context.catalogue, context.settings)


@click.command()
@click.argument("process", nargs=-1)
@click.option("--no-follow", is_flag=True, help="only what is there")
def logs(context: Context, process: Sequence[str], *, no_follow: bool) -> Outcome:
    """The logs of a run here, the last lines and then what comes.

    PROCESS: das dis aps aps-worker ubs ui postgres (all)
    """
    follow = not (no_follow or context.dry_run)
    return control.logs(context.settings, process, follow=follow)


@click.command()
def stop(context: Context) -> Outcome:
    """Stops a run here, from any terminal, and waits until nothing of it is left."""
    return control.stop(context.settings, dry_run=context.dry_run)


@click.command()
@click.option("--yes", is_flag=True, help="do not ask")
def clean(context: Context, *, yes: bool) -> Outcome:
    """Deletes data, caches and environments of this checkout, after asking."""
    return control.clean(context.catalogue, context.settings, yes=yes, dry_run=context.dry_run)


@click.command()
@click.argument("service", nargs=-1)
@click.option("--dev", is_flag=True, help="with the development tools")
def venvs(context: Context, service: Sequence[str], *, dev: bool) -> Outcome:
    """Makes the folders' environments from their hashed locks; current ones are left alone.

    SERVICE: folders or codes, ci (all)
    """
    listed = context.catalogue
    chosen = ["ci" if name == "ci" else find(listed, name).folder for name in service]
    folders = chosen or [*(service.folder for service in listed.services), "ci"]
    lock = environments.DEV if dev else environments.RUNTIME
    wanted = [f for f in folders if environments.wanted_lock(listed.root / f, lock)]
    facts = {"folders": wanted, "lock": lock}
    if context.dry_run:
        return Outcome("done", f"would make: {', '.join(wanted) or 'none'}", facts)
    asyncio.run(environments.make(listed.root, folders, lock, context.screen))
    return Outcome("done" if wanted else "nothing", "", facts)


@click.command()
@click.argument("file", default=".env")
@click.option(
    "--show", is_flag=True, help="where the platform is that compose started, and its key"
)
def secrets(context: Context, file: str, *, show: bool) -> Outcome:
    """Writes what `docker compose up` needs; values that are there already stay.

    FILE: within the repository (.env)
    """
    path = context.root / file
    return compose.ready(context, path) if show else compose.write_env(context, path)
