"""Which series of a group depart from their siblings, and since when."""

from analysis_processing.analyses.parameters import Analysis, Parameter

GROUP_OUTLIERS = Analysis(
    kind="group_outliers",
    title="Outliers in a group",
    description=(
        "Compares each series with those of its group, such as the replicas of one service, and "
        "names the ones that stay away from the middle of the group."
    ),
    version="1",
    parameters=(
        Parameter(
            "by",
            "labels",
            [],
            "Series with the same values of these labels are a group; all are one without any.",
        ),
        Parameter(
            "deviations",
            "number",
            5.0,
            "How far from the group's median is away, in usual deviations of the group.",
            minimum=2.0,
            maximum=100.0,
        ),
        Parameter(
            "share",
            "number",
            0.1,
            "The share of the range that a series must be away for, most of the time.",
            minimum=0.01,
            maximum=1.0,
        ),
    ),
    module="analysis_processing.analyses.group_outliers.run",
)
