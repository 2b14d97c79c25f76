"""A report of a period against the one before: availability, top changes, capacity, usage."""

from analysis_processing.analyses.parameters import Analysis, Parameter

SECTION = "report_section"
"""The label that says which section a series belongs to; without it, top changes."""
REPORT = Analysis(
    kind="report",
    title="Report",
    description=(
        "The second half of the range against the first: what changed, what was up and what will "
        "be full, with charts. Scheduled under /api/v1/reports; of any other query, what changed."
    ),
    version="1",
    parameters=(Parameter("title", "text", "Report", "Its heading.", maximum=200),),
    module="analysis_processing.analyses.report.run",
)
