"""What changed between one time and the next, over all series of a tenant."""

from analysis_processing.analyses.parameters import Analysis, Parameter

CHANGES = Analysis(
    kind="changes",
    title="What changed",
    description=(
        "Compares the range before a time with the range after it, for all series at once: which "
        "moved further than they move by themselves, appeared or vanished, in which order, what "
        "labels they share, and which deploys stand beside it."
    ),
    version="1",
    parameters=(
        Parameter(
            "split_at",
            "time",
            None,
            "Where before ends and after begins; the middle of the range unless given.",
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
    module="analysis_processing.analyses.changes.run",
)
