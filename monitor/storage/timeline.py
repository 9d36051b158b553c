"""Trends without holes: what was counted, and whether anybody listened."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, get_args

from monitor.domain.labels import Topic
from monitor.domain.windows import ALL, RESOLUTIONS_S, Key, KeyKind, WindowStats, bucket_start_s
from monitor.storage.store import Store


class Point(NamedTuple):
    """A bucket of a key.

    Units: `observed` is the share of the expected sources that were heard, in [0, 1]: 0 where no count means anything,
        None where it is not known.
    """

    stats: WindowStats
    observed: float | None


async def points(store: Store, rows: Sequence[WindowStats], now: datetime) -> list[Point]:
    """Rows of the trend tables, each with the share that was observed until `now`."""
    if not rows:
        return []
    exposure = await store.coverage.observed(min(row.start for row in rows), max(row.end for row in rows), now=now)
    return [Point(row, exposure.share(row.key, row.start, row.end)) for row in rows]


async def keys_named(store: Store, name: str, kinds: Sequence[KeyKind] | None = None) -> list[Key]:
    """The keys of this name, of these kinds or any, that were ever counted or are watched anyhow.

    Watched are all articles, every topic, and every source that is polled: no article of theirs means something.
    """
    watched: dict[KeyKind, Collection[str]] = {"all": {ALL.name}, "topic": set(Topic)}
    watched["source"] = await store.coverage.sources()
    keys = [Key(kind, name) for kind in kinds or get_args(KeyKind)]
    return [
        key
        for key in keys
        if key.name in watched.get(key.kind, ())
        or await store.articles.trends(resolution="1d", kinds=[key.kind], key=key.name, limit=1)
    ]


async def timeline(
    store: Store,
    key: Key,
    *,
    resolution: str,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int,
) -> list[Point]:
    """The buckets of a key that start in [since, until), those without any article too, the newest first.

    They end with the last that holds an article, or with that of `now` while any source is expected, and begin with
    the first article or the first time that any source was heard; at most `limit` of them.
    """
    width_s = RESOLUTIONS_S[resolution]
    asked = {"resolution": resolution, "since": since, "until": until, "kinds": [key.kind], "key": key.name}
    rows = await store.articles.trends(**asked, limit=limit, newest_first=True)  # type: ignore[arg-type]
    oldest = await store.articles.trends(**asked, limit=1)  # type: ignore[arg-type]
    bounds = await store.coverage.bounds()
    firsts = [row.start for row in oldest]
    lasts = [row.start for row in rows[:1]]
    if bounds is not None:
        firsts.append(bounds.heard_from)
        lasts.append(min(bounds.expected_until, now))
    if not firsts:
        return []
    first_s = min(bucket_start_s(moment, width_s) for moment in firsts)
    last_s = max(bucket_start_s(moment, width_s) for moment in lasts)
    if since is not None:
        first_s = max(first_s, _ceiling_s(since, width_s))
    if until is not None:
        last_s = min(last_s, _ceiling_s(until, width_s) - width_s)
    first_s = max(first_s, last_s - (limit - 1) * width_s)
    known = {row.start: row for row in rows}
    starts = [datetime.fromtimestamp(start_s, UTC) for start_s in range(last_s, first_s - 1, -width_s)]
    width = timedelta(seconds=width_s)
    return await points(
        store, [known.get(start) or WindowStats(key=key, start=start, end=start + width) for start in starts], now
    )


def _ceiling_s(moment: datetime, width_s: int) -> int:
    """Start of the first bucket that does not start before `moment`, in seconds since the epoch."""
    start_s = bucket_start_s(moment, width_s)
    return start_s if start_s == moment.timestamp() else start_s + width_s
