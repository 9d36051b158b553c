"""The articles in the order in which they are looked at, and what was made out by looking."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, bindparam, func, select, update

from monitor.domain.spikes import Spike
from monitor.domain.windows import RESOLUTIONS_S, Key
from monitor.storage import tables as t
from monitor.storage.articles import COUNTED
from monitor.storage.database import Database, to_the_end
from monitor.storage.leases import Term, fence
from monitor.storage.spikes import insert_new, resolve


class Sighting(NamedTuple):
    """What a detector looks at in an article; topic and what follows None where it has no label.

    `seen` is its number in the order of looking, None before. Units: probabilities in [0, 1].
    """

    id: str
    story_id: str
    source: str
    url: str | None
    title: str
    summary: str
    published_at: datetime
    fetched_at: datetime
    seen: int | None
    topic: str | None
    sentiment: str | None
    negative: float | None
    positive: float | None


class Checkpoint(NamedTuple):
    """What a detector of that version remembered after the article `seen`."""

    version: str
    seen: int
    state: bytes


class Added(NamedTuple):
    """What articles add to a bucket of a key: as in WindowStats, `sources` by name."""

    positive: int
    neutral: int
    negative: int
    unlabelled: int
    polarity_micro: int
    stories: int
    negative_stories: int
    sources: frozenset[str]

    def plus(self, other: "Added") -> "Added":
        return Added(
            self.positive + other.positive,
            self.neutral + other.neutral,
            self.negative + other.negative,
            self.unlabelled + other.unlabelled,
            self.polarity_micro + other.polarity_micro,
            self.stories + other.stories,
            self.negative_stories + other.negative_stories,
            self.sources | other.sources,
        )


class Looked(NamedTuple):
    """What was made out of some articles: each with its story and its number; the buckets; the spikes.

    `resolved`: keys whose episodes are over, each with when.
    """

    articles: Sequence[tuple[str, str, int]]
    buckets: Mapping[tuple[datetime, Key], Added]
    spikes: Sequence[Spike]
    resolved: Sequence[tuple[Key, datetime]]


class Sightings:
    """Written by the one process that looks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trends = database.bulk(
            t.trend,
            add=[column.name for column in t.trend.columns if column.name in _ADDED],
            count=("sources", t.trend_source),
        )
        self._sources = database.bulk(t.trend_source)

    async def unseen(self, until: datetime, limit: int = 500) -> list[Sighting]:
        """The next articles to look at, of those fetched before `until`: by fetch, then publication, then id.

        About `limit` of them, but always all of one fetch.
        """
        a = t.article.c
        query = _sightings().where(a.seen.is_(None)).order_by(a.fetched_at, a.published_at, a.id)
        async with self._database.read() as connection:
            found = [_sighting(row) for row in await connection.execute(query.where(a.fetched_at < until).limit(limit))]
            if len(found) == limit:
                last = found[-1].fetched_at
                found = [sighting for sighting in found if sighting.fetched_at < last]
                found += [_sighting(row) for row in await connection.execute(query.where(a.fetched_at == last))]
        return found

    async def seen(
        self, *, after: int = 0, upto: int | None = None, since: datetime | None = None, limit: int = 2000
    ) -> list[Sighting]:
        """Articles that were looked at, in that order: of those numbered (after, upto], fetched at `since` or later."""
        a = t.article.c
        conditions = [a.seen > after]
        if upto is not None:
            conditions.append(a.seen <= upto)
        if since is not None:
            conditions.append(a.fetched_at >= since)
        async with self._database.read() as connection:
            rows = await connection.execute(_sightings().where(*conditions).order_by(a.seen).limit(limit))
            return [_sighting(row) for row in rows]

    async def first_fetched_at(self) -> datetime | None:
        """When the first of all stored articles came in."""
        async with self._database.read() as connection:
            first: datetime | None = await connection.scalar(select(func.min(t.article.c.fetched_at)))
        return first

    async def bad_news(self, since: datetime, until: datetime, negative_from: float) -> list[datetime]:
        """When articles came in, in [since, until), that are bad news with at least this probability."""
        fetched_at = t.article.c.fetched_at
        query = select(fetched_at).join(t.label, COUNTED).where(fetched_at >= since, fetched_at < until)
        async with self._database.read() as connection:
            return list((await connection.execute(query.where(t.label.c.negative >= negative_from))).scalars())

    async def checkpoint(self, name: str) -> Checkpoint | None:
        c = t.checkpoint.c
        async with self._database.read() as connection:
            row = (await connection.execute(select(c.version, c.seen, c.state).where(c.name == name))).one_or_none()
        return None if row is None else Checkpoint(*row)

    @to_the_end
    async def save_checkpoint(self, name: str, checkpoint: Checkpoint, term: Term | None = None) -> None:
        """Raises: LeaseError, if `term` is over."""
        values = checkpoint._asdict()
        insert = self._database.insert(t.checkpoint).values(name=name, **values)
        async with self._database.write() as connection:
            await fence(connection, term)
            await connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))

    @to_the_end
    async def save(self, looked: Looked, term: Term | None = None) -> set[str]:
        """Keeps what was made out, all or nothing. Returns the ids of the spikes that were not in the table yet.

        Raises: LeaseError, if `term` is over; then nothing was kept.
        """
        async with self._database.write() as connection:
            await fence(connection, term)
            if looked.articles:
                rows = [{"of": id_, "story": story, "number": number} for id_, story, number in looked.articles]
                await connection.execute(_SET_SEEN, rows)
            sums = _rolled_up(looked.buckets)
            sources = [(*place, source) for place, added in sums for source in sorted(added.sources)]
            await self._sources.insert(connection, sources)
            await self._trends.insert(connection, [(*place, *added[:-1]) for place, added in sums])
            stated = await insert_new(connection, self._database, looked.spikes)
            await resolve(connection, looked.resolved)
        return stated


_ADDED = frozenset(Added._fields) - {"sources"}
_COLUMNS = [t.article.c[name] if name in t.article.c else t.label.c[name] for name in Sighting._fields]
_SET_SEEN = (
    update(t.article)
    .where(t.article.c.id == bindparam("of"))
    .values(story_id=bindparam("story"), seen=bindparam("number"))
)


def _sightings() -> Select[Any]:
    return select(*_COLUMNS).select_from(t.article).outerjoin(t.label, COUNTED)


def _sighting(row: Row[Any]) -> Sighting:
    return Sighting(**row._mapping)


def _rolled_up(buckets: Mapping[tuple[datetime, Key], Added]) -> list[tuple[tuple[int, datetime, str, str], Added]]:
    """The same at every resolution, each with its primary key, in the order of these."""
    of_keys = [(int(start.timestamp()), key, added) for (start, key), added in buckets.items()]
    of_keys.sort(key=itemgetter(1))  # once: each bucket of any width then gets its keys in order
    rows: list[tuple[tuple[int, datetime, str, str], Added]] = []
    for width_s in sorted(RESOLUTIONS_S.values()):
        wide: dict[int, dict[Key, Added]] = {}
        for start_s, key, added in of_keys:
            sums = wide.setdefault(start_s // width_s * width_s, {})
            known = sums.get(key)
            sums[key] = added if known is None else known.plus(added)
        for start_s, sums in sorted(wide.items()):
            start = datetime.fromtimestamp(start_s, UTC)
            rows += [((width_s, start, *key), added) for key, added in sums.items()]
    return rows
