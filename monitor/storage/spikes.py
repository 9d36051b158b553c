"""Spikes, and the outbox that puts them on the bus."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.domain.spikes import Spike, StoryEvidence
from monitor.domain.windows import Key, KeyKind
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end

_COLUMNS = {"start": "window_start", "end": "window_end", "low": "expected_low", "high": "expected_high"}


class Spikes:
    """Spikes by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def firing(self) -> dict[Key, list[str]]:
        """The ids of the spikes that are not over, by key."""
        query = select(t.spike.c.key_kind, t.spike.c.key, t.spike.c.id).where(t.spike.c.state == "firing")
        found: dict[Key, list[str]] = {}
        async with self._database.read() as connection:
            for kind, key, spike_id in await connection.execute(query):
                found.setdefault(Key(kind, key), []).append(spike_id)
        return found

    async def firing_since(self) -> datetime | None:
        """When the first of those that fire was stated; None: none does."""
        query = select(func.min(t.spike.c.detected_at)).where(t.spike.c.state == "firing")
        async with self._database.read() as connection:
            since: datetime | None = await connection.scalar(query)
        return since

    async def get(self, spike_id: str) -> list[Spike]:
        """Those whose id begins like this: one, unless too little of it was given."""
        query = select(t.spike).where(t.spike.c.id.startswith(spike_id, autoescape=True)).order_by(t.spike.c.id)
        async with self._database.read() as connection:
            return [_spike(row) for row in await connection.execute(query.limit(10))]

    async def unpublished(self, limit: int = 100) -> list[Spike]:
        """Spikes that are not on the bus yet, the oldest first."""
        query = select(t.spike).where(t.spike.c.published_at.is_(None)).order_by(t.spike.c.detected_at, t.spike.c.id)
        async with self._database.read() as connection:
            return [_spike(row) for row in await connection.execute(query.limit(limit))]

    @to_the_end
    async def mark_published(self, spikes: Sequence[Spike], now: datetime) -> None:
        """One that has ended since it was read is still to be told as such."""
        async with self._database.write() as connection:
            for spike in spikes:
                told = (t.spike.c.id == spike.id, t.spike.c.state == spike.state)
                await connection.execute(update(t.spike).where(*told).values(published_at=now))

    async def latest(
        self,
        *,
        limit: int,
        since: datetime | None = None,
        key: str | None = None,
        kinds: Sequence[KeyKind] | None = None,
    ) -> list[Spike]:
        """The newest first; `key`: on keys of that name, `kinds`: of one of these kinds."""
        query = select(t.spike).order_by(t.spike.c.detected_at.desc(), t.spike.c.id).limit(limit)
        if since is not None:
            query = query.where(t.spike.c.detected_at >= since)
        if key is not None:
            query = query.where(t.spike.c.key == key)
        if kinds is not None:
            query = query.where(t.spike.c.key_kind.in_(kinds))
        async with self._database.read() as connection:
            return [_spike(row) for row in await connection.execute(query)]


async def insert_new(connection: AsyncConnection, database: Database, spikes: Sequence[Spike]) -> set[str]:
    """States spikes; returns the ids of those that were not in the table yet."""
    if not spikes:
        return set()
    insert = database.insert(t.spike).on_conflict_do_nothing().returning(t.spike.c.id)
    return set((await connection.execute(insert, [_row(spike) for spike in spikes])).scalars())


async def resolve(connection: AsyncConnection, keys: Sequence[tuple[Key, datetime]]) -> None:
    """Ends what is firing on these keys, and was stated before that moment; the bus is to be told."""
    for key, at in keys:
        over = (t.spike.c.key_kind == key.kind, t.spike.c.key == key.name, t.spike.c.state == "firing")
        ending = update(t.spike).where(*over, t.spike.c.detected_at < at)
        await connection.execute(ending.values(state="resolved", resolved_at=at, published_at=None))


def _row(spike: Spike) -> dict[str, object]:
    fields = spike.model_dump(exclude={"key", "stories"})
    return {
        **{_COLUMNS.get(name, name): value for name, value in fields.items()},
        "key_kind": spike.key.kind,
        "key": spike.key.name,
        "stories": [story.model_dump(mode="json") for story in spike.stories],
        "last_high_at": spike.detected_at,
    }


def _spike(row: Row[Any]) -> Spike:
    fields = {
        name: getattr(row, _COLUMNS.get(name, name)) for name in Spike.model_fields if name not in ("key", "stories")
    }
    stories = tuple(StoryEvidence.model_validate(story) for story in row.stories)
    return Spike(key=Key(row.key_kind, row.key), stories=stories, **fields)
