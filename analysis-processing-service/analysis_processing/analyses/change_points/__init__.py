"""When series moved to another level, and how far."""

from analysis_processing.analyses.parameters import Analysis, Parameter

CHANGE_POINTS = Analysis(
    kind="change_points",
    title="Change points",
    description=(
        "Cuts each series into stretches of one level: when it moved, from what to what. Meant for "
        "steps; a rhythm or a slow drift makes a series less certain, not full of steps."
    ),
    version="1",
    parameters=(
        Parameter(
            "penalty",
            "number",
            3.0,
            "How much a step must explain, in logarithms of the series' length; more is stricter.",
            minimum=1.0,
            maximum=100.0,
        ),
    ),
    module="analysis_processing.analyses.change_points.run",
)
