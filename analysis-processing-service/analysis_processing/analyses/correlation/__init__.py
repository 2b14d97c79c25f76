"""Which series move together with one of them, and which of the two leads."""

from analysis_processing.analyses.parameters import Analysis, Parameter

CORRELATION = Analysis(
    kind="correlation",
    title="Correlation with one series",
    description=(
        "Compares one series with all others, also some steps earlier and later. Trend, rhythm and "
        "memory of each are taken off first, so that only what is new in both is compared."
    ),
    version="1",
    parameters=(
        Parameter(
            "target",
            "text",
            "",
            'The labels of the one series, as a selector up{job="x"} or as JSON; they must fit '
            "exactly one series of the query.",
            maximum=4096,
        ),
        Parameter(
            "lag_steps",
            "integer",
            20,
            "How many steps earlier and later are tried.",
            minimum=0,
            maximum=500,
        ),
        Parameter(
            "false_share",
            "number",
            0.01,
            "At most this share of the series that are named may be false discoveries.",
            minimum=0.0001,
            maximum=0.2,
        ),
    ),
    module="analysis_processing.analyses.correlation.run",
)
