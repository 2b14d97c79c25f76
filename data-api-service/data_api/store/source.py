"""Where a process reads from, and its own store of it: the service and each of its workers."""

from dataclasses import dataclass, field
from typing import Final

from data_api.chassis.objects import Bucket, Directory, open_store
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.reader import Store
from data_api.store.rollups import RollupReader

ANSWERS_SHARE: Final = 24  # of what is kept decoded, beside it


@dataclass(frozen=True, slots=True)
class Source:
    """Postgres, the object store, and how much of them one process keeps decoded."""

    database_url: str = field(repr=False)
    object_store_url: str
    connections: int
    head_bytes_max: int
    block_cache_bytes_max: int

    def opened(self) -> tuple[Database, Store]:
        """The store, and the connection pool that it reads from once its block is entered."""
        database = Database(self.database_url, self.connections)
        objects = open_store(self.object_store_url, Directory, Bucket)
        catalogue = Catalogue(database, self.head_bytes_max)
        blocks = BlockReader(objects, self.block_cache_bytes_max)
        rollups = RollupReader(objects, self.block_cache_bytes_max // 8)
        answers = self.block_cache_bytes_max // ANSWERS_SHARE
        return database, Store(catalogue, blocks, objects, rollups, answers)
