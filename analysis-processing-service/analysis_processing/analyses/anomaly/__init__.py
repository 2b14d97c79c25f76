"""What a series did that its own past did not lead one to expect."""

from analysis_processing.analyses.parameters import Analysis, Parameter

ANOMALY = Analysis(
    kind="anomaly",
    title="Anomaly detection",
    description=(
        "Tells what a series was not expected to do, judged by its own earlier samples only: "
        "spikes, shifts and drifts of its level against its day or week, changed spread and "
        "rhythm, stuck values and missing data. One alarm an episode."
    ),
    version="4",
    parameters=(
        Parameter(
            "sensitivity",
            "number",
            0.5,
            "False alarms you accept in a series-week: about 0.004 at 0, 0.2 at 0.5, 10 at 1.",
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
            "Samples of each series that are only learned from, never judged. All but spikes and "
            "missing data need half a day to a day on top; for two days limits lie farther.",
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
            "Whether the scores are written back as the series cloudopshub_anomaly_score; alarms "
            "always are, as cloudopshub_anomaly_alarm.",
        ),
    ),
    module="analysis_processing.analyses.anomaly.run",
)
