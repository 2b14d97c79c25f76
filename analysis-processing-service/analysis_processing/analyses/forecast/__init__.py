"""What comes: every series' next hours or days with honest intervals, and when it will be full."""

from analysis_processing.analyses.parameters import Analysis, Parameter

FORECAST = Analysis(
    kind="forecast",
    title="Forecast",
    description=(
        "Tells how each series goes on, with intervals that its own past errors justify, and "
        "when it reaches a limit. Ask for a range of at least twice the horizon, better two weeks."
    ),
    version="1",
    parameters=(
        Parameter(
            "horizon",
            "duration",
            "24h",
            "How far ahead; at most half of the range, to which it is cut.",
            minimum=60_000,
            maximum=366 * 86_400_000,
        ),
        Parameter(
            "season",
            "season",
            "auto",
            "What repeats: auto tries an hour, a day and a week; none; or a duration such as 12h.",
            choices=("auto", "none"),
        ),
        Parameter(
            "method",
            "choice",
            "auto",
            "How to forecast; auto lets the past decide for each series.",
            choices=("auto", "seasonal", "damped", "booster"),
        ),
        Parameter(
            "full_at",
            "number",
            None,
            "A limit, such as a disk's size: the result tells when it is reached. None by default.",
            minimum=-1e100,
            maximum=1e100,
        ),
        Parameter(
            "full_direction",
            "choice",
            "up",
            "Whether full_at is reached from below or from above.",
            choices=("up", "down"),
        ),
        Parameter(
            "write_back",
            "boolean",
            True,
            "Whether the value one horizon ahead is written back as cloudopshub_forecast.",
        ),
    ),
    module="analysis_processing.analyses.forecast.run",
)
