"""GET /api/v1/analyses: what can be run, with parameters, defaults and bounds."""

from typing import Any

from fastapi import APIRouter

from analysis_processing.analyses import ANALYSES
from analysis_processing.api.deps import Reader, ServicesDep

router = APIRouter(prefix="/api/v1", tags=["analyses"])


@router.get("/analyses")
async def list_analyses(_: Reader, held: ServicesDep) -> dict[str, Any]:
    """The kinds of analysis that can be run here, and the bounds of one job."""
    settings = held.settings
    return {
        "analyses": [
            analysis.as_json()
            for kind, analysis in ANALYSES.items()
            if kind != "own" or settings.own_analyses
        ],
        "limits": {
            "series_max": settings.series_max,
            "points_max": settings.points_max,
            "steps_max": settings.steps_max,
            "unfinished_jobs_max": settings.unfinished_jobs_max,
        },
    }
