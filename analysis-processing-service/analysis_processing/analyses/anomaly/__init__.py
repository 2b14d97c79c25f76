"""What a series did that its own past did not lead one to expect."""

from analysis_processing.analyses.parameters import Analysis, Parameter

ANOMALY = Analysis(
    kind="anomaly",
    title="Anomaly detection",
    description=(
        "Marks what a series was not expected to do, judged by its own earlier samples only: "
        "its level, its hour, day or week, and how widely it usually scatters. "
        "For a counter, ask for its rate."
    ),
    version="1",
    parameters=(
        Parameter(
            "sensitivity",
            "number",
            0.5,
            "How little is unusual enough: alarms start at 9 - 6 × sensitivity usual deviations.",
            minimum=0.0,
            maximum=1.0,
        ),
        Parameter(
            "season",
            "season",
            "auto",
            "What repeats: auto tries an hour, a day and a week; none; or a duration such as 12h.",
            choices=("auto", "none"),
        ),
        Parameter(
            "direction",
            "choice",
            "both",
            "Which side matters: higher than expected, lower, or both.",
            choices=("both", "up", "down"),
        ),
        Parameter(
            "warm_up",
            "integer",
            64,
            "Samples of each series that are only learned from, never judged.",
            minimum=16,
            maximum=10_000,
        ),
        Parameter(
            "refractory",
            "integer",
            10,
            "Quiet steps that end an episode; unusual samples closer than that share one alarm.",
            minimum=0,
            maximum=10_000,
        ),
        Parameter(
            "write_back",
            "boolean",
            True,
            "Whether the scores are written back as the series cloudopshub_anomaly_score.",
        ),
    ),
    module="analysis_processing.analyses.anomaly.run",
)
