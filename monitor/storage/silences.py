"""Silences: what nobody wants to hear of for a while, and who said so."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, select, update

from monitor.domain.matchers import Matcher, parse
from monitor.domain.record import fingerprint
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end


class Silence(NamedTuple):
    """Alerts that all matchers match are not told of in [starts_at, ends_at)."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str
    created_at: datetime


class Silences:
    """Silences by id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._parsed: dict[str, tuple[Matcher, ...]] = {}

    @to_the_end
    async def add(
        self,
        matchers: tuple[Matcher, ...],
        starts_at: datetime,
        ends_at: datetime,
        *,
        author: str,
        comment: str,
        now: datetime,
    ) -> Silence:
        """The same silence said twice is one; said again after it was ended, it holds again."""
        silence = _made(matchers, starts_at, ends_at, author, comment, now)
        async with self._database.write() as connection:
            await connection.execute(self._upsert(silence))
        return silence

    @to_the_end
    async def replace(
        self, old: Silence, starts_at: datetime, ends_at: datetime, *, author: str, comment: str, now: datetime
    ) -> Silence | None:
        """Ends a silence at once, if it is not over, and begins another of the same alerts: both, or neither.

        None: the old one is not as it was any more; nothing was done.
        """
        silence = _made(old.matchers, starts_at, ends_at, author, comment, now)
        as_it_was = (t.silence.c.id == old.id, t.silence.c.ends_at == old.ends_at)
        over = update(t.silence).where(*as_it_was).values(ends_at=min(old.ends_at, now))
        async with self._database.write() as connection:
            if not (await connection.execute(over)).rowcount:
                return None
            await connection.execute(self._upsert(silence))
        return silence

    async def active(self, now: datetime) -> list[Silence]:
        """Those that hold now."""
        silences = await self._where(t.silence.c.starts_at <= now, t.silence.c.ends_at > now)
        # They are asked for at every look, and to read their matchers costs more than all the rest. An id stands for
        # the same matchers for ever; those that hold no more are forgotten.
        self._parsed = {silence.id: silence.matchers for silence in silences}
        return silences

    async def all(self, *, since: datetime | None = None) -> list[Silence]:
        """Those that end after `since`, or all, in the order of their ends."""
        return await self._where(*(() if since is None else (t.silence.c.ends_at > since,)))

    async def get(self, silence_id: str) -> list[Silence]:
        """Those whose id begins like this."""
        return await self._where(t.silence.c.id.startswith(silence_id, autoescape=True))

    @to_the_end
    async def expire(self, silence_id: str, now: datetime) -> bool:
        """Ends a silence at once; False if it is over already, or unknown."""
        lasts = (t.silence.c.id == silence_id, t.silence.c.ends_at > now)
        async with self._database.write() as connection:
            return (await connection.execute(update(t.silence).where(*lasts).values(ends_at=now))).rowcount > 0

    def _upsert(self, silence: Silence) -> Any:
        values = {**silence._asdict(), "matchers": [str(matcher) for matcher in silence.matchers]}
        insert = self._database.insert(t.silence).values(values)
        return insert.on_conflict_do_update(index_elements=["id"], set_={"ends_at": silence.ends_at})

    async def _where(self, *conditions: Any) -> list[Silence]:
        query = select(t.silence).where(*conditions).order_by(t.silence.c.ends_at, t.silence.c.id)
        async with self._database.read() as connection:
            return [self._silence(row) for row in await connection.execute(query)]

    def _silence(self, row: Row[Any]) -> Silence:
        matchers = self._parsed.get(row.id) or tuple(parse(text) for text in row.matchers)
        return Silence(**{**row._mapping, "matchers": matchers})


def _made(
    matchers: tuple[Matcher, ...], starts_at: datetime, ends_at: datetime, author: str, comment: str, now: datetime
) -> Silence:
    told = sorted(str(matcher) for matcher in matchers)
    silence_id = fingerprint("silence", *told, starts_at.isoformat(), ends_at.isoformat(), author, comment)
    return Silence(silence_id, matchers, starts_at, ends_at, author, comment, now)
