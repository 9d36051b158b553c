"""When which source was heard: what tells a quiet hour from one that nobody listened to."""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, delete, func, select, update

from monitor.domain.windows import BUCKET_S, Key, bucket_moment, bucket_number, bucket_start
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end

EXPECTED_FOR = timedelta(days=7)
"""How long a source that is no longer heard is still expected."""

_BUCKET = timedelta(seconds=BUCKET_S)
# A poll may be so late and still speak for all the time since the last.
_LATE = timedelta(minutes=15)


class Observed(NamedTuple):
    """The sources heard in one bucket, of those that were expected there."""

    heard: frozenset[str]
    expected: frozenset[str]

    @property
    def share(self) -> float | None:
        """In [0, 1]; None where none was expected, so that nothing is known."""
        return len(self.heard) / len(self.expected) if self.expected else None

    def of(self, key: Key) -> float | None:
        """The share that matters to this key: a source's own key hangs on that source alone."""
        if key.kind != "source":
            return self.share
        return float(key.name in self.heard) if key.name in self.expected else None


class Exposure(Mapping[datetime, Observed]):
    """What was observed in each 5-minute bucket of [start, end), by the bucket's start.

    Kept as the buckets at which it changes, so that a year without an outage costs no more than a day.
    """

    def __init__(
        self, start: datetime, end: datetime, spans: Iterable[tuple[str, datetime, datetime, datetime]]
    ) -> None:
        """`spans`: source, heard from, heard until, expected until."""
        self._first = bucket_number(start)
        self._end = max(self._first, bucket_number(_ceiling(end)))
        heard: dict[str, list[_Stretch]] = {}
        expected: dict[str, list[_Stretch]] = {}
        for source, heard_from, heard_until, expected_until in spans:
            first = bucket_number(heard_from)
            heard.setdefault(source, []).append((first, bucket_number(heard_until)))
            expected.setdefault(source, []).append((first, bucket_number(expected_until)))
        self._heard = {source: _union(stretches) for source, stretches in heard.items()}
        self._expected = {source: _union(stretches) for source, stretches in expected.items()}
        self._all = _Shares(self._heard.values(), self._expected.values())

    def __getitem__(self, moment: datetime) -> Observed:
        number = bucket_number(moment)
        if moment != bucket_start(moment) or not self._first <= number < self._end:
            raise KeyError(moment)
        return Observed(_at(self._heard, number), _at(self._expected, number))

    def __iter__(self) -> Iterator[datetime]:
        for number in range(self._first, self._end):
            yield bucket_moment(number)

    def __len__(self) -> int:
        return self._end - self._first

    def share(self, key: Key, start: datetime, end: datetime) -> float | None:
        """The mean share for a key over the buckets of [start, end) of which anything is known; else None."""
        shares = self._all
        if key.kind == "source":
            shares = _Shares([self._heard.get(key.name, [])], [self._expected.get(key.name, [])])
        return shares.mean(bucket_number(start), bucket_number(end))


_Stretch = tuple[int, int]
"""Numbers of buckets: from the first up to, and not, the last."""


class _Shares:
    """The share of sources heard, as the buckets at which it changes."""

    def __init__(self, heard: Iterable[list[_Stretch]], expected: Iterable[list[_Stretch]]) -> None:
        steps: dict[int, list[int]] = {}
        for which, sources in enumerate((heard, expected)):
            for stretches in sources:
                for first, last in stretches:
                    steps.setdefault(first, [0, 0])[which] += 1
                    steps.setdefault(last, [0, 0])[which] -= 1
        self._changes = sorted(steps)
        numbers = accumulate((steps[at] for at in self._changes), lambda one, two: [one[0] + two[0], one[1] + two[1]])
        self._shares = [heard / expected if expected else None for heard, expected in numbers]

    def mean(self, first: int, last: int) -> float | None:
        known, total = 0, 0.0
        place = bisect_right(self._changes, first)
        while first < last:
            until = min(last, self._changes[place]) if place < len(self._changes) else last
            share = self._shares[place - 1] if place else None
            if share is not None:
                known += until - first
                total += share * (until - first)
            first, place = until, place + 1
        return total / known if known else None


class Bounds(NamedTuple):
    """From when on anything was heard, and until when anything is expected."""

    heard_from: datetime
    expected_until: datetime


class Coverage:
    """Spans of time in which sources were heard.

    A source is expected from when it was first heard until a week after it was last heard, or until it is retired.
    Sources that are not polled leave nothing here: where nothing is expected, nothing is known.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spans = database.bulk(t.coverage)

    @to_the_end
    async def heard(self, source: str, start: datetime, end: datetime) -> None:
        """The source was heard in every bucket that [start, end) touches. Said twice, it changes nothing."""
        if start >= end:
            return
        first, last = bucket_start(start), _ceiling(end)
        touching = (t.coverage.c.source == source, t.coverage.c.heard_from <= last, t.coverage.c.heard_until >= first)
        async with self._database.write() as connection:
            known = (await connection.execute(select(t.coverage).where(*touching))).all()
            first = min([first, *(span.heard_from for span in known)])
            last = max([last, *(span.heard_until for span in known)])
            swallowed = [span.heard_from for span in known if span.heard_from != first]
            if swallowed:
                await connection.execute(
                    delete(t.coverage).where(t.coverage.c.source == source, t.coverage.c.heard_from.in_(swallowed))
                )
            row = {"source": source, "heard_from": first, "heard_until": last, "expected_until": last + EXPECTED_FOR}
            insert = self._database.insert(t.coverage).values(row)
            # Another copy may have put in more since: nothing is ever made shorter here.
            longest = {
                name: _greatest(t.coverage.c[name], insert.excluded[name]) for name in ("heard_until", "expected_until")
            }
            await connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[t.coverage.c.source, t.coverage.c.heard_from], set_=longest
                )
            )

    @to_the_end
    async def retire(self, sources: Collection[str]) -> None:
        """These are not expected any more from when they were last heard, until they are heard again."""
        async with self._database.write() as connection:
            for source in sorted(sources):
                own = t.coverage.c.source == source
                last = await connection.scalar(select(func.max(t.coverage.c.heard_until)).where(own))
                if last is not None:
                    await connection.execute(
                        update(t.coverage).where(own, t.coverage.c.expected_until > last).values(expected_until=last)
                    )

    async def sources(self) -> set[str]:
        """All that were ever heard."""
        async with self._database.read() as connection:
            return set((await connection.execute(select(t.coverage.c.source).distinct())).scalars())

    async def observed(self, start: datetime, end: datetime, *, now: datetime | None = None) -> Exposure:
        """What was observed in the 5-minute buckets of [start, end).

        `now`: of what comes after it nothing is known, and a source whose next poll is not overdue yet is not expected
        in the buckets since its last one: that poll will tell of them. None: all that was to be heard has been heard.
        """
        query = (
            select(t.coverage, t.feed.c.failures, t.feed.c.next_poll_at)
            .outerjoin(t.feed, t.feed.c.name == t.coverage.c.source)
            .where(t.coverage.c.expected_until > start, t.coverage.c.heard_from < end)
        )
        if now is None:
            async with self._database.read() as connection:
                return Exposure(start, end, [tuple(row[:4]) for row in await connection.execute(query)])
        async with self._database.read() as connection:
            spans = (await connection.execute(query)).all()
        last: dict[str, datetime] = {}
        for span in spans:
            last[span.source] = max(last.get(span.source, span.heard_until), span.heard_until)
        limits = {span.source: last[span.source] if _is_due(span, last[span.source], now) else now for span in spans}
        return Exposure(
            start,
            end,
            [(s.source, s.heard_from, s.heard_until, min(s.expected_until, _ceiling(limits[s.source]))) for s in spans],
        )

    async def bounds(self) -> Bounds | None:
        """None while nothing was heard at all."""
        query = select(func.min(t.coverage.c.heard_from), func.max(t.coverage.c.expected_until))
        async with self._database.read() as connection:
            first, last = (await connection.execute(query)).one()
        return None if first is None else Bounds(first, last)

    @to_the_end
    async def delete_before(self, cutoff: datetime) -> None:
        """Forgets what was heard before the bucket of `cutoff`."""
        cutoff = bucket_start(cutoff)
        async with self._database.write() as connection:
            await connection.execute(delete(t.coverage).where(t.coverage.c.heard_until <= cutoff))
            straddling = t.coverage.c.heard_from <= cutoff
            latest = func.max(t.coverage.c.heard_until), func.max(t.coverage.c.expected_until)
            query = select(t.coverage.c.source, *latest).where(straddling).group_by(t.coverage.c.source)
            kept = [(source, cutoff, *until) for source, *until in await connection.execute(query)]
            await connection.execute(delete(t.coverage).where(straddling))
            await self._spans.insert(connection, sorted(kept))


def _is_due(feed: Any, last: datetime, now: datetime) -> bool:
    """Whether nothing is wrong with a source last heard then: its next poll is still to come, or just late."""
    if now - last <= _LATE:
        return True
    return not feed.failures and feed.next_poll_at is not None and now <= feed.next_poll_at + _LATE


def _greatest(left: ColumnElement[Any], right: ColumnElement[Any]) -> ColumnElement[Any]:
    """The later of two; SQLite and PostgreSQL name the function differently."""
    return case((left > right, left), else_=right)


def _union(stretches: list[_Stretch]) -> list[_Stretch]:
    """The same buckets in order and apart: two copies that write at once may leave spans that overlap."""
    apart: list[_Stretch] = []
    for first, last in sorted(stretches):
        if apart and first <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(last, apart[-1][1]))
        else:
            apart.append((first, last))
    return apart


def _at(stretches: Mapping[str, list[_Stretch]], number: int) -> frozenset[str]:
    """The sources with a stretch that holds this bucket."""
    found = set()
    for source, own in stretches.items():
        place = bisect_right(own, (number, math.inf)) - 1
        if place >= 0 and number < own[place][1]:
            found.add(source)
    return frozenset(found)


def _ceiling(moment: datetime) -> datetime:
    """The start of its bucket, or of the next unless it is one."""
    start = bucket_start(moment)
    return start if start == moment else start + _BUCKET
