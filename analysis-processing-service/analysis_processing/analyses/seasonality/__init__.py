"""Which rhythms series have, how strong they are, and their best and worst hours."""

from analysis_processing.analyses.parameters import Analysis, Parameter

SEASONALITY = Analysis(
    kind="seasonality",
    title="Rhythms",
    description=(
        "Looks for an hour, a day, a week and whatever else repeats: how much of a series each "
        "rhythm foretells, and when in it the series is highest and lowest."
    ),
    version="1",
    parameters=(
        Parameter(
            "strength_min",
            "number",
            0.1,
            "A rhythm must foretell this share of the variance, in cycles it has not seen.",
            minimum=0.01,
            maximum=0.95,
        ),
    ),
    module="analysis_processing.analyses.seasonality.run",
)
