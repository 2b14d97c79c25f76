"""GET /api/v1/jobs/{id}/result: pages of JSON by rank; downloads as Arrow, Parquet and CSV.

selection ─▶ rows of analysis.series by score ─▶ the bytes of their batches ─▶ JSON
          └▶ chunk after chunk ─▶ Arrow, Parquet, CSV: one chunk in memory
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from analysis_processing.analyses.selector import selected_labels
from analysis_processing.api.deps import Reader, Services, ServicesDep, cursor_of, place_of
from analysis_processing.api.jobs import JobId
from analysis_processing.errors import InvalidPage, ResultChanged
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.repository import Selection
from analysis_processing.model import Job
from analysis_processing.model import Request as AskedFor

if TYPE_CHECKING:
    from analysis_processing.jobs.results import Head

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
MEDIA: Final = {
    "json": "application/json",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
}
PAGE: Final = 50
"""Series of a JSON page unless asked otherwise; for more, columns come only when asked for."""
PLACE: Final = ("score", "chunk_no", "row_no")
TOGETHER: Final = 10


class Wanted(BaseModel):
    """The query string of a result. top: the first of the ranking and no more; limit: of a page."""

    series: str = Field("", max_length=4_096, description='such as {job="api"}')
    only: Literal["", "findings", "anomalies"] = ""
    top: int | None = Field(None, ge=1, le=1_000)
    limit: int | None = Field(None, ge=1, le=1_000)
    cursor: str | None = Field(None, max_length=1_000)
    columns: bool | None = None
    format: str = Field("", description="json, arrow, parquet, csv, or such a media type")

    @property
    def count(self) -> int:
        """How many series a page has at most."""
        return self.top or self.limit or PAGE

    @property
    def selection(self) -> Selection:
        """The condition on series; raises InvalidPage."""
        try:
            labels = selected_labels(self.series) if self.series else {}
        except ValueError as exc:
            raise InvalidPage(detail=f"series is {exc}") from None
        return Selection(labels, bool(self.only))


@router.get("/{id}/result", response_class=StreamingResponse)  # noqa: FAST003  job_id reads it
def read_result(
    identity: JobId,
    caller: Reader,
    services: ServicesDep,
    request: Request,
    wanted: Annotated[Wanted, Query()],
) -> StreamingResponse:
    """The result, or the series wanted of it; 409 while there is none."""
    media = media_of(wanted.format, request.headers.get("accept", ""))
    with transaction(services.engine) as db:
        stored = repository.finished(db, caller.tenant, identity)
    if media == "json":
        return StreamingResponse(page(services, stored, wanted), media_type=MEDIA[media])
    if wanted.limit is not None or wanted.cursor is not None:
        raise InvalidPage(detail="limit and cursor are for JSON; a download takes top")
    name = f"{stored.request.kind}-{stored.id}.{media}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    parts = download(services, stored, wanted, media)
    return StreamingResponse(parts, media_type=MEDIA[media], headers=headers)


def media_of(wanted: str, accept: str) -> str:
    """The name in MEDIA that `format` gives, short or as a media type, else the first in Accept."""
    if wanted:
        for name, media in MEDIA.items():
            if wanted in (name, media):
                return name
        raise InvalidPage(detail=f"format is none of {', '.join(MEDIA)}")
    accepted = [one.partition(";")[0].strip() for one in accept.split(",")]
    names = {media: name for name, media in MEDIA.items()}
    return next((names[one] for one in accepted if one in names), "json")


def place(stored: Job, cursor: str | None) -> repository.Place | None:
    """Where the page begins; raises ResultChanged when it was a page of another run."""
    if cursor is None:
        return None
    run, score, chunk, row = place_of(cursor, str, float, int, int)
    if run != str(stored.finished_at):
        raise ResultChanged(id=stored.id)
    return score, chunk, row


def page(services: Services, stored: Job, wanted: Wanted) -> Iterator[str]:
    """A page of the result as JSON, TOGETHER series of it in memory."""
    from analysis_processing.jobs import results  # noqa: PLC0415  heavy: not at start

    count = wanted.count
    with_columns = count <= PAGE if wanted.columns is None else wanted.columns
    with transaction(services.engine) as db:
        after = place(stored, wanted.cursor)
        rows = repository.ranked(db, stored, wanted.selection, count + 1, after)
        has_more, rows = len(rows) > count and wanted.top is None, rows[:count]
        numbers = {0} | {row["chunk_no"] for row in rows if with_columns}
        beginnings = repository.heads(db, stored, numbers)
    heads = {number: results.Head.read(beginning) for number, beginning in beginnings.items()}
    axis: results.Head | AskedFor = heads.get(0, stored.request)
    last = None
    if has_more:
        last = cursor_of(str(stored.finished_at), *(rows[-1][name] for name in PLACE))
    tail = {
        "axis": {name: getattr(axis, name) for name in ("start_ms", "step_ms", "steps")},
        "next": last,
        "summary": stored.summary,
        "written_series": stored.written_series,
    }

    def texts() -> Iterator[str]:
        comma = '{"series":['
        for first in range(0, len(rows), TOGETHER):
            with transaction(services.engine) as db:
                some = [
                    series_text(db, stored, row, heads[row["chunk_no"]] if with_columns else None)
                    for row in rows[first : first + TOGETHER]
                ]
            yield comma + ",".join(some)
            comma = ","
        yield ("" if rows else comma) + "]," + json.dumps(tail)[1:]

    return texts()


def series_text(db: Connection, stored: Job, row: dict[str, Any], head: "Head | None") -> str:
    """A series as JSON, of its row of analysis.series; head: of its chunk, for its columns."""
    text = json.dumps({name: row[name] for name in ("labels", "score", "note")} | row["detail"])
    if head is None:
        return text
    batch = repository.payload(db, stored, row["chunk_no"], *head.span(row["row_no"]))
    return f'{text[:-1]},"columns":{head.columns(batch, row["row_no"])}}}'


def download(services: Services, stored: Job, wanted: Wanted, media: str) -> Iterator[bytes]:
    """The series in the order of the query, chunk by chunk, each read when it is its turn."""
    from analysis_processing.jobs import results  # noqa: PLC0415  heavy: not at start

    selection = wanted.selection
    is_all = selection == Selection() and wanted.top is None
    with transaction(services.engine) as db:
        beginnings = repository.heads(db, stored)
        chosen = {} if is_all else repository.chosen(db, stored, selection, wanted.top)
        labels = repository.label_names(db, stored) if media == "csv" else []
    heads = {number: results.Head.read(head) for number, head in beginnings.items()}

    def chunks() -> Iterator[results.Chunk]:
        for number, head in heads.items():
            if is_all or number in chosen:
                with transaction(services.engine) as db:
                    payload = repository.payload(db, stored, number)
                yield head, payload, None if is_all else chosen[number]

    schema = results.joined_schema(list(heads.values()))
    match media:
        case "arrow":
            return results.as_arrow(schema, chunks())
        case "parquet":
            return results.as_parquet(schema, chunks())
        case _:
            return results.as_csv(schema, labels, chunks())
