"""Spikes, and the outbox that puts them on the bus."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select, update

from monitor.domain.spikes import Spike, StoryEvidence
from monitor.domain.windows import Key
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end
from monitor.storage.leases import Term, fence

_WINDOW = {"start": "window_start", "end": "window_end"}


class Episode(NamedTuple):
    """The latest spike of a key, and when the key last scored high; all that a trigger remembers."""

    spike: Spike
    last_high_at: datetime


class Spikes:
    """Spikes by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def save(
        self,
        spikes: Sequence[Spike],
        high: Collection[tuple[str, datetime]],
        resolved: Collection[tuple[str, datetime]],
        term: Term | None = None,
    ) -> set[str]:
        """States new spikes, notes for which known ones the key still scores high, and which are over; all or none.

        Returns the ids of the spikes that were not in the table yet.
        Raises: LeaseError, if `term` is over; then nothing was stated.
        """
        new: set[str] = set()
        async with self._database.write() as connection:
            await fence(connection, term)
            if spikes:
                insert = self._database.insert(t.spike).on_conflict_do_nothing().returning(t.spike.c.id)
                new = set((await connection.execute(insert, [_row(spike) for spike in spikes])).scalars())
            for spike_id, at in high:
                await connection.execute(update(t.spike).where(t.spike.c.id == spike_id).values(last_high_at=at))
            for spike_id, at in resolved:
                closing = update(t.spike).where(t.spike.c.id == spike_id)
                await connection.execute(closing.values(state="resolved", resolved_at=at))
        return new

    async def episodes(self, until: datetime) -> dict[Key, Episode]:
        """The latest spike of each key that has one, of those stated by `until`."""
        latest = (
            select(t.spike.c.key_kind, t.spike.c.key, func.max(t.spike.c.detected_at).label("detected_at"))
            .where(t.spike.c.detected_at <= until)
            .group_by(t.spike.c.key_kind, t.spike.c.key)
            .subquery()
        )
        query = select(t.spike).join(
            latest,
            (t.spike.c.key_kind == latest.c.key_kind)
            & (t.spike.c.key == latest.c.key)
            & (t.spike.c.detected_at == latest.c.detected_at),
        )
        async with self._database.read() as connection:
            found = [Episode(_spike(row), row.last_high_at) for row in await connection.execute(query)]
        return {episode.spike.key: episode for episode in found}

    async def unpublished(self, limit: int = 100) -> list[Spike]:
        """Spikes that are not on the bus yet, the oldest first."""
        query = select(t.spike).where(t.spike.c.published_at.is_(None)).order_by(t.spike.c.detected_at, t.spike.c.id)
        async with self._database.read() as connection:
            return [_spike(row) for row in await connection.execute(query.limit(limit))]

    @to_the_end
    async def mark_published(self, ids: Sequence[str], now: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(update(t.spike).where(t.spike.c.id.in_(ids)).values(published_at=now))

    async def latest(self, *, limit: int, since: datetime | None = None, key: str | None = None) -> list[Spike]:
        """The newest first."""
        query = select(t.spike).order_by(t.spike.c.detected_at.desc(), t.spike.c.id).limit(limit)
        if since is not None:
            query = query.where(t.spike.c.detected_at >= since)
        if key is not None:
            query = query.where(t.spike.c.key == key)
        async with self._database.read() as connection:
            return [_spike(row) for row in await connection.execute(query)]


def _row(spike: Spike) -> dict[str, object]:
    fields = spike.model_dump(exclude={"key", "stories"})
    return {
        **{_WINDOW.get(name, name): value for name, value in fields.items()},
        "key_kind": spike.key.kind,
        "key": spike.key.name,
        "stories": [story.model_dump(mode="json") for story in spike.stories],
        "last_high_at": spike.detected_at,
    }


def _spike(row: Row[Any]) -> Spike:
    fields = {
        name: getattr(row, _WINDOW.get(name, name)) for name in Spike.model_fields if name not in ("key", "stories")
    }
    stories = tuple(StoryEvidence.model_validate(story) for story in row.stories)
    return Spike(key=Key(row.key_kind, row.key), stories=stories, **fields)
