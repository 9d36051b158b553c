"""Leases: which of several copies may act, and which copies there are. Time is the database's."""

from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import DateTime, Select, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, SystemClock
from monitor.errors import LeaseError, Reason
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end


class Term(NamedTuple):
    """One reign: `number` grows with every change of hands, so no two reigns over a name are alike."""

    name: str
    owner: str
    number: int


class Leases:
    """Leases by name; each is held by one owner until its time is over.

    The time is PostgreSQL's own, so that the clocks of the copies do not matter. SQLite has none: there it is `clock`.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    @to_the_end
    async def acquire(self, name: str, owner: str, ttl_s: float) -> Term | None:
        """Takes the lease for `ttl_s` seconds if nobody holds it; None if somebody does, this owner included."""
        ttl = timedelta(seconds=ttl_s)
        async with self._database.write() as connection:
            now = self._now(connection)
            insert = self._database.insert(t.lease).values(name=name, owner=owner, term=1, until=now + ttl)
            # Further ahead than anybody sets it: the clock was wrong once, and must not lock everybody out for years.
            is_free = or_(t.lease.c.until <= now, t.lease.c.until > now + 10 * ttl)
            upsert = insert.on_conflict_do_update(
                index_elements=[t.lease.c.name],
                set_={"owner": owner, "term": t.lease.c.term + 1, "until": insert.excluded.until},
                where=is_free,
            ).returning(t.lease.c.term)
            number = await connection.scalar(upsert)
        return None if number is None else Term(name, owner, number)

    @to_the_end
    async def renew(self, term: Term, ttl_s: float) -> bool:
        """Prolongs the term to `ttl_s` seconds from now; False if another has begun. One that ran out goes on."""
        async with self._database.write() as connection:
            until = self._now(connection) + timedelta(seconds=ttl_s)
            renewed = await connection.execute(update(t.lease).where(*_is(term)).values(until=until))
        return renewed.rowcount > 0

    @to_the_end
    async def release(self, term: Term) -> None:
        """Ends the term, if it has not ended yet. The row stays: numbers must not start again."""
        async with self._database.write() as connection:
            await connection.execute(update(t.lease).where(*_is(term)).values(until=self._now(connection)))

    @to_the_end
    async def forget(self, term: Term) -> None:
        """Ends the term and drops its name, where that is never to be used again."""
        async with self._database.write() as connection:
            await connection.execute(delete(t.lease).where(*_is(term)))

    @to_the_end
    async def forget_ended(self, prefix: str, since_s: float) -> None:
        """Drops the names with this prefix whose terms ended more than `since_s` seconds ago."""
        async with self._database.write() as connection:
            ended = t.lease.c.until < self._now(connection) - timedelta(seconds=since_s)
            await connection.execute(delete(t.lease).where(_starts(prefix), ended))

    async def check(self, term: Term) -> None:
        """Raises: LeaseError, if another term has begun."""
        async with self._database.read() as connection:
            _insist(await connection.scalar(_row(term)), term)

    async def holder(self, name: str) -> str | None:
        """Who held the lease last."""
        async with self._database.read() as connection:
            owner: str | None = await connection.scalar(select(t.lease.c.owner).where(t.lease.c.name == name))
        return owner

    async def held(self, prefix: str) -> list[str]:
        """The names with this prefix that are held now, in order."""
        async with self._database.read() as connection:
            live = select(t.lease.c.name).where(_starts(prefix), t.lease.c.until > self._now(connection))
            return list((await connection.execute(live.order_by(t.lease.c.name))).scalars())

    def _now(self, connection: AsyncConnection) -> Any:
        if connection.dialect.name == "postgresql":
            # Not now(), which is when the transaction began: it may have waited for another since.
            return func.clock_timestamp(type_=DateTime(timezone=True))
        return self._clock.now()


async def fence(connection: AsyncConnection, term: Term | None) -> None:
    """Lets the transaction go on only if this term still holds, and keeps it from ending before the transaction does.

    To be called first in a transaction that only the holder may make; None: nobody else is there to make it.
    Raises: LeaseError, if another term has begun.
    """
    if term is None:
        return
    _insist(await connection.scalar(_row(term).with_for_update(read=True)), term)


def _row(term: Term) -> Select[Any]:
    return select(t.lease.c.term).where(*_is(term))


def _insist(found: object, term: Term) -> None:
    if found is None:
        raise LeaseError(Reason.STORAGE, f"the lease {term.name} of {term.owner} is over: another copy acts")


def _is(term: Term) -> tuple[Any, ...]:
    return t.lease.c.name == term.name, t.lease.c.owner == term.owner, t.lease.c.term == term.number


def _starts(prefix: str) -> Any:
    return t.lease.c.name.startswith(prefix, autoescape=True)
