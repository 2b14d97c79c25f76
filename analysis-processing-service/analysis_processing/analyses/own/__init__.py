"""Your own logic: Python functions that the operator gives as files."""

from analysis_processing.analyses.parameters import Analysis, Parameter

OWN = Analysis(
    kind="own",
    title="Own function",
    description=(
        "Runs a function of the operator's own: `run(frame, params) -> frame`, pandas in and out, "
        "from a Python file in APS_OWN_ANALYSES."
    ),
    version="1",
    parameters=(
        Parameter(
            "function",
            "text",
            "",
            "The file's name without .py; empty: the only one there is.",
            maximum=100,
        ),
        Parameter(
            "arguments",
            "text",
            "{}",
            'The function\'s params, as a JSON object such as {"window": "1h"}.',
            maximum=4_000,
        ),
        Parameter(
            "sample",
            "integer",
            0,
            "A dry run: only the first so many series; 0: all of them.",
            minimum=0,
            maximum=10_000,
        ),
    ),
    module="analysis_processing.analyses.own.run",
)
