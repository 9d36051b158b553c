"""Where each feed's reading stands, and how healthy it is."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select

from monitor.errors import Reason
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end


class FeedState(NamedTuple):
    """Cursor and health of one feed.

    `failures` counts failed polls since the last good one; `reason` and `detail` tell of the last poll, None where
    there is nothing to tell. A parked feed is not polled until it is given another address.
    """

    name: str
    url: str
    cursor: dict[str, Any]
    next_poll_at: datetime | None = None
    last_polled_at: datetime | None = None
    last_success_at: datetime | None = None
    last_new_at: datetime | None = None
    failures: int = 0
    reason: Reason | None = None
    detail: str | None = None
    moved_to: str | None = None
    parked: bool = False
    articles: int = 0


class Feeds:
    """Feed states by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, FeedState]:
        async with self._database.read() as connection:
            rows = await connection.execute(select(t.feed).order_by(t.feed.c.name))
            return {row.name: _state(dict(row._mapping)) for row in rows}

    @to_the_end
    async def save(self, state: FeedState) -> None:
        row = state._asdict()
        upsert = self._database.insert(t.feed).values(row)
        upsert = upsert.on_conflict_do_update(index_elements=[t.feed.c.name], set_=row)
        async with self._database.write() as connection:
            await connection.execute(upsert)


def _state(row: dict[str, Any]) -> FeedState:
    return FeedState(**{**row, "reason": None if row["reason"] is None else Reason(row["reason"])})
