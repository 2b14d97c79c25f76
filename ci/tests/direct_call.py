"""A command of the table called in a context that is made already."""

from ci import cli


def call(name, argv, context):
    """What the command does; errors are raised."""
    wanted = cli.command(name)
    options = wanted.make_context(name, list(argv)).params
    del options["dry_run"], options["in_json"]
    return wanted.callback.args[1](context, **options)
