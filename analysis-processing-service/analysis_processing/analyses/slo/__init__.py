"""How much of an error budget is left, how fast it burns, and when it is gone."""

from analysis_processing.analyses.parameters import Analysis, Parameter

SLO = Analysis(
    kind="slo",
    title="Service level objective",
    description=(
        "Judges a share of good events (0 to 1), or a latency against a threshold, by an objective "
        "over the range: error budget left, burn rates over the usual pairs of windows, the alerts "
        "they make, and when the budget is gone at the present rate. Each step counts the same."
    ),
    version="1",
    parameters=(
        Parameter(
            "objective",
            "number",
            99.9,
            "The share that is to be good, in percent.",
            minimum=50.0,
            maximum=99.9999,
        ),
        Parameter(
            "measure",
            "choice",
            "ratio",
            "What the query gives: a share of good events, or a latency, good below the threshold.",
            choices=("ratio", "latency"),
        ),
        Parameter(
            "threshold",
            "number",
            0.5,
            "For a latency: a step is good below it; in the unit of the query.",
            minimum=0.0,
            maximum=1e12,
        ),
    ),
    module="analysis_processing.analyses.slo.run",
)
