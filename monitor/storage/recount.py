"""The trends counted anew from articles, labels and stories: equal to those stored unless something is wrong."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select

from monitor.domain.stories import FirstTold, keys_of
from monitor.domain.windows import RESOLUTIONS_S, Key, WindowStats, bucket_start
from monitor.storage import tables as t
from monitor.storage.articles import COUNTED, micro, stats_of
from monitor.storage.database import Database

_COUNTS = ("positive", "neutral", "negative", "unlabelled", "polarity_micro", "stories", "negative_stories")


class Recount(NamedTuple):
    """The buckets of a resolution as they are stored and as they were counted anew, in no order."""

    stored: list[WindowStats]
    counted: list[WindowStats]

    @property
    def differing(self) -> set[WindowStats]:
        """Those that the other does not hold just so."""
        return set(self.stored).symmetric_difference(self.counted)

    def since(self, start: datetime) -> "Recount":
        """The buckets that start then or later."""
        stored, counted = ([stats for stats in rows if stats.start >= start] for rows in self)
        return Recount(stored, counted)


async def recount(database: Database, resolution: str, negative_from: float) -> Recount:
    """Every bucket of this resolution, both of one state of the tables: a daemon that writes meanwhile changes nothing.

    What has not been looked at yet counts as in the tables: on no name, and no story. `negative_from`: from which
    probability of the negative label a story counts as bad news.
    """
    width_s = RESOLUTIONS_S[resolution]
    a = t.article.c
    query = select(a.source, a.title, a.summary, a.published_at, a.fetched_at, a.story_id, a.seen, t.label)
    trends = select(t.trend).where(t.trend.c.resolution_s == width_s)
    sums: dict[tuple[datetime, Key], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    sources: dict[tuple[datetime, Key], set[str]] = defaultdict(set)
    told = FirstTold()
    async with database.snapshot() as connection:
        stored = [stats_of(row, width_s) for row in await connection.execute(trends)]
        for row in await connection.execute(query.outerjoin(t.label, COUNTED).order_by(a.seen)):
            for key in keys_of(row.source, row.topic, row.title, row.summary):
                if key.kind == "entity" and row.seen is None:
                    continue
                place = bucket_start(row.published_at, width_s), key
                counts = sums[place]
                counts[row.sentiment or "unlabelled"] += 1
                if row.sentiment is not None:
                    counts["polarity_micro"] += micro(row.positive - row.negative)
                if row.seen is not None:
                    is_bad = (row.negative or 0.0) >= negative_from
                    new = told.take(key, row.story_id, row.fetched_at.timestamp(), negative=is_bad)
                    counts["stories"] += new.story
                    counts["negative_stories"] += new.negative
                    sources[place].add(row.source)
    width = timedelta(seconds=width_s)
    counted = [
        WindowStats(key=key, start=start, end=start + width, **counts, sources=len(sources[start, key]))
        for (start, key), counts in sums.items()
    ]
    return Recount(stored, counted)
