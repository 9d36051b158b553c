"""Articles, their labels, and the trends counted from them: written in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, delete, func, select

from monitor.domain.article import Article
from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.domain.stories import stored_keys
from monitor.domain.windows import BUCKET_S, RESOLUTIONS_S, Key, KeyKind, WindowStats, bucket_start, bucket_start_s
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end

_COUNTS = ("positive", "neutral", "negative", "unlabelled", "polarity_micro")
_SEEN_COUNTS = ("stories", "negative_stories", "sources")
_DAY_S = RESOLUTIONS_S["1d"]
_UNLABELLED = _COUNTS.index("unlabelled")
_NOT_SEEN = (0,) * len(_SEEN_COUNTS)


class Headline(NamedTuple):
    """An article with the label that is counted; topic and what follows None where it has none.

    Units: probability of the sentiment named, in [0, 1].
    """

    article: Article
    topic: str | None
    sentiment: str | None
    probability: float | None
    model_version: str | None


class Articles:
    """Articles, labels and trends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._articles = database.bulk(t.article)
        self._labels = database.bulk(t.label)
        self._trends = database.bulk(t.trend, add=(*_COUNTS, *_SEEN_COUNTS))

    @to_the_end
    async def add(self, batch: Sequence[LabelledArticle]) -> list[LabelledArticle]:
        """Stores and counts those that are not stored yet; tells which these were, in order.

        Buckets only ever grow by articles that this transaction inserted, so whatever comes twice counts once.
        Raises: StoreError; then nothing was stored.
        """
        first: dict[str, LabelledArticle] = {}
        for labelled in batch:
            first.setdefault(labelled.article.id, labelled)
        if not first:
            return []
        # Sorted, as the buckets are: two transactions that meet on the same rows never wait in a circle.
        articles = [_article_row(labelled) for _, labelled in sorted(first.items())]
        labels = {row[:2]: row for labelled in reversed(batch) if (row := _label_row(labelled)) is not None}
        async with self._database.write() as connection:
            inserted = await self._articles.insert_new(connection, articles)
            new = [labelled for key, labelled in first.items() if key in inserted]
            await self._labels.insert(connection, [row for _, row in sorted(labels.items())])
            await self._trends.insert(connection, count(new))
        return new

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these article ids are stored."""
        found: set[str] = set()
        async with self._database.read() as connection:
            for start in range(0, len(ids), 500):
                query = select(t.article.c.id).where(t.article.c.id.in_(ids[start : start + 500]))
                found.update((await connection.execute(query)).scalars())
        return found

    async def totals(self) -> dict[str, int]:
        """Articles stored, and of these labelled."""
        query = select(func.count(), func.count(t.article.c.model_version)).select_from(t.article)
        async with self._database.read() as connection:
            stored, labelled = (await connection.execute(query)).one()
        return {"articles": stored, "labelled": labelled, "unlabelled": stored - labelled}

    async def headlines(
        self,
        *,
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
        topic: str | None = None,
        sentiment: str | None = None,
        source: str | None = None,
    ) -> list[Headline]:
        """The newest first; ties by id."""
        conditions: list[ColumnElement[bool]] = []
        if since is not None:
            conditions.append(t.article.c.published_at >= since)
        if until is not None:
            conditions.append(t.article.c.published_at < until)
        if topic is not None:
            conditions.append(t.label.c.topic == topic)
        if sentiment is not None:
            conditions.append(t.label.c.sentiment == sentiment)
        if source is not None:
            conditions.append(t.article.c.source == source)
        query = (
            select(
                t.article,
                t.label.c.topic,
                t.label.c.sentiment,
                t.label.c.negative,
                t.label.c.neutral,
                t.label.c.positive,
            )
            .outerjoin(t.label, COUNTED)
            .where(*conditions)
            .order_by(t.article.c.published_at.desc(), t.article.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_headline(row) for row in await connection.execute(query)]

    async def trends(
        self,
        *,
        resolution: str = "5m",
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Iterable[KeyKind] | None = None,
        key: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[WindowStats]:
        """Stored buckets that start in [since, until), by start, then key."""
        width_s = RESOLUTIONS_S[resolution]
        start = t.trend.c.bucket_start
        conditions = [t.trend.c.resolution_s == width_s]
        if since is not None:
            conditions.append(start >= since)
        if until is not None:
            conditions.append(start < until)
        if kinds is not None:
            conditions.append(t.trend.c.key_kind.in_(sorted(kinds)))
        if key is not None:
            conditions.append(t.trend.c.key == key)
        order = start.desc() if newest_first else start
        query = select(t.trend).where(*conditions).order_by(order, t.trend.c.key_kind, t.trend.c.key).limit(limit)
        async with self._database.read() as connection:
            return [stats_of(row, width_s) for row in await connection.execute(query)]

    async def delete_before(self, cutoff: datetime) -> int:
        """Deletes articles of buckets before that of `cutoff`, their labels and these buckets; hours and days stay.

        Whole buckets, a day at a time, so that what stays in the tables adds up throughout.
        """
        cutoff = bucket_start(cutoff)
        deleted = 0
        while (first := await self._oldest_before(cutoff)) is not None:
            deleted += await self._delete_day(min(cutoff, bucket_start(first, _DAY_S) + timedelta(seconds=_DAY_S)))
        return deleted

    async def _oldest_before(self, cutoff: datetime) -> datetime | None:
        fine = (t.trend.c.resolution_s == BUCKET_S, t.trend.c.bucket_start < cutoff)
        async with self._database.read() as connection:
            article = await connection.scalar(
                select(func.min(t.article.c.published_at)).where(t.article.c.published_at < cutoff)
            )
            bucket = await connection.scalar(select(func.min(t.trend.c.bucket_start)).where(*fine))
        return min((moment for moment in (article, bucket) if moment is not None), default=None)

    @to_the_end
    async def _delete_day(self, end: datetime) -> int:
        async with self._database.write() as connection:
            result = await connection.execute(delete(t.article).where(t.article.c.published_at < end))
            for table in (t.trend, t.trend_source):
                fine = (table.c.resolution_s == BUCKET_S, table.c.bucket_start < end)
                await connection.execute(delete(table).where(*fine))
        return result.rowcount


COUNTED = and_(t.label.c.article_id == t.article.c.id, t.label.c.model_version == t.article.c.model_version)


def count(batch: Sequence[LabelledArticle]) -> list[tuple[Any, ...]]:
    """Rows to add to the trend table, one per resolution, bucket and key, in the order of its primary key.

    All writers upsert in this one order, so two transactions never wait for each other in a circle.
    Shapes: as the table's columns: resolution_s, bucket_start, key_kind, key, then the counts as in `_COUNTS`.
    """
    sums: dict[tuple[int, Key], list[int]] = {}
    for labelled in batch:
        label = labelled.label
        place = _UNLABELLED if label is None else _COUNTS.index(label.top_sentiment)
        polarity_micro = 0 if label is None else micro(label.polarity)
        start_s = bucket_start_s(labelled.article.published_at)
        for key in stored_keys(labelled.article.source, None if label is None else label.top_topic):
            counts = sums.get((start_s, key))
            if counts is None:
                counts = sums[start_s, key] = [0] * len(_COUNTS)
            counts[place] += 1
            counts[-1] += polarity_micro
    return [
        (width_s, datetime.fromtimestamp(start_s, UTC), *key, *counts, *_NOT_SEEN)
        for width_s in sorted(RESOLUTIONS_S.values())
        for (start_s, key), counts in sorted(_rolled_up(sums, width_s).items())
    ]


def _rolled_up(sums: Mapping[tuple[int, Key], list[int]], width_s: int) -> Mapping[tuple[int, Key], list[int]]:
    """The sums of buckets in wider ones."""
    if width_s == BUCKET_S:
        return sums
    wide: dict[tuple[int, Key], list[int]] = {}
    for (start_s, key), counts in sums.items():
        place = start_s // width_s * width_s, key
        known = wide.get(place)
        wide[place] = counts if known is None else [a + b for a, b in zip(known, counts, strict=True)]
    return wide


def micro(polarity: float) -> int:
    """Polarity in whole millionths, so that sums are exact in any order."""
    return round(polarity * 1e6)


# Of strings, though they are of an enumeration: that saves a call for each.
_topics: TypeAdapter[Any] = TypeAdapter(dict[str, float])
_fields = attrgetter(*(column.name for column in t.article.columns if column.name not in ("model_version", "seen")))


def _article_row(labelled: LabelledArticle) -> tuple[Any, ...]:
    version = None if labelled.label is None else labelled.label.model_version
    return (*_fields(labelled.article), version, None)


def _label_row(labelled: LabelledArticle) -> tuple[Any, ...] | None:
    label = labelled.label
    if label is None:
        return None
    shares = [label.sentiment.get(sentiment, 0.0) for sentiment in Sentiment]
    topics = _topics.dump_json(label.topic).decode()
    return (labelled.article.id, label.model_version, label.top_topic, label.top_sentiment, *shares, topics)


def _article(row: Row[Any]) -> Article:
    return Article(**{name: getattr(row, name) for name in Article.model_fields})


def _headline(row: Row[Any]) -> Headline:
    probability = None if row.sentiment is None else float(getattr(row, row.sentiment))
    return Headline(_article(row), row.topic, row.sentiment, probability, row.model_version)


def stats_of(row: Row[Any], width_s: int) -> WindowStats:
    """A row of the trends of this resolution."""
    counts = {name: getattr(row, name) for name in (*_COUNTS, *_SEEN_COUNTS)}
    start = row.bucket_start
    return WindowStats(key=Key(row.key_kind, row.key), start=start, end=_end(start, width_s), **counts)


def _end(start: datetime, width_s: int) -> datetime:
    return start + timedelta(seconds=width_s)
