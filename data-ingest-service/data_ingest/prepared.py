"""A request on its way to its commit: what of it is to be stored, and what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from data_ingest.errors import StoreRefused
from data_ingest.limits import METADATA_NOT_KEPT
from data_ingest.model import I64, U64
from data_ingest.store.packing import Write

STORE_REFUSED = "store_refused"


@dataclass(slots=True)
class Refusals:
    """Samples that will not be stored, by reason, and why the first of them.

    rows: by reason, the rows of `SampleBatch.keys` whose samples are still to be counted.
    """

    counts: dict[str, int]
    first_error: str
    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], why: str = "") -> None:
        """Add `counts` (samples by reason) to the refusals."""
        for reason, samples in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + samples
        self.first_error = self.first_error or why

    def refuse_row(self, reason: str, row: int, why: str) -> None:
        """All samples of this row are refused; they are counted later, all rows at once."""
        self.rows.setdefault(reason, []).append(row)
        self.first_error = self.first_error or why


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded request with its series looked up: what is to be committed, and what is refused.

    new_keys: (k, 2), the cache keys of new series; new_at: (k,), the index of each in `write.new`.
    """

    write: Write
    new_keys: U64
    new_at: I64
    skipped: Mapping[str, int]
    first_error: str

    def without_samples(self, reason: str) -> "Prepared":
        """The same request with all its samples refused: only the count is left to commit."""
        write, nothing = self.write, slice(0, 0)
        return replace(
            self,
            write=Write(
                write.tenant,
                write.series_ids[nothing],
                write.timestamps_ms[nothing],
                write.values[nothing],
                refused=added(write.refused, reason, write.samples),
            ),
            new_keys=self.new_keys[nothing],
            new_at=self.new_at[nothing],
        )

    def with_less(self, refusal: StoreRefused) -> "Prepared":
        """The same without its metadata; where it has none, without its samples."""
        if described := len(self.write.metadata):
            skipped = added(self.skipped, METADATA_NOT_KEPT, described)
            return replace(self, write=replace(self.write, metadata=()), skipped=skipped)
        return replace(self.without_samples(STORE_REFUSED), first_error=str(refusal))


def added(counts: Mapping[str, int], reason: str, count: int) -> dict[str, int]:
    """`counts`, with `count` more of `reason`."""
    return {**counts, reason: counts.get(reason, 0) + count}
