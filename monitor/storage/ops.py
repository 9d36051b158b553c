"""What operators look at: dead letters, and how each component fares."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import delete, func, or_, select, update

from monitor.domain.dead_letters import DeadLetter
from monitor.storage import tables as t
from monitor.storage.database import Database, to_the_end


class DeadLetters:
    """Dead letters by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def add(self, letters: Sequence[DeadLetter]) -> None:
        latest = {letter.id: letter for letter in letters}
        rows = [{**dict(letter), "reason": str(letter.reason)} for _, letter in sorted(latest.items())]
        insert = self._database.insert(t.dead_letter)
        # A record that was replayed and failed again is waiting again, with its latest reason.
        again = {name: insert.excluded[name] for name in ("reason", "detail", "failed_at", "replayed_at")}
        upsert = insert.on_conflict_do_update(index_elements=[t.dead_letter.c.id], set_=again)
        async with self._database.write() as connection:
            await connection.execute(upsert, rows)

    async def list(self, *, limit: int, ids: Sequence[str] = (), replayed: bool | None = None) -> list[DeadLetter]:
        """The newest first, at most `limit`. `ids` may be cut short, as they are shown in tables."""
        query = select(t.dead_letter).order_by(t.dead_letter.c.failed_at.desc(), t.dead_letter.c.id).limit(limit)
        if replayed is not None:
            at = t.dead_letter.c.replayed_at
            query = query.where(at.is_not(None) if replayed else at.is_(None))
        if ids:
            query = query.where(or_(*(t.dead_letter.c.id.startswith(start, autoescape=True) for start in ids)))
        async with self._database.read() as connection:
            return [DeadLetter(**row._mapping) for row in await connection.execute(query)]

    @to_the_end
    async def mark_replayed(self, letter_id: str, now: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(t.dead_letter).where(t.dead_letter.c.id == letter_id).values(replayed_at=now)
            )

    async def count(self) -> int:
        """Those not replayed yet."""
        query = select(func.count()).where(t.dead_letter.c.replayed_at.is_(None))
        async with self._database.read() as connection:
            return int(await connection.scalar(query) or 0)


class ComponentHealth(NamedTuple):
    """How one component of one process fares. Times in UTC; `since` is when it entered this state."""

    process: str
    name: str
    state: Literal["ok", "retrying", "stopped"]
    detail: str | None
    since: datetime
    heartbeat_at: datetime


class Health:
    """The last word of every component."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @to_the_end
    async def report(self, components: Sequence[ComponentHealth], forget_before: datetime) -> None:
        """Saves the states, and forgets processes that have been silent since `forget_before`."""
        insert = self._database.insert(t.component)
        upsert = insert.on_conflict_do_update(
            index_elements=list(t.component.primary_key),
            set_={name: insert.excluded[name] for name in ("state", "detail", "since", "heartbeat_at")},
        )
        async with self._database.write() as connection:
            await connection.execute(upsert, [component._asdict() for component in components])
            await connection.execute(delete(t.component).where(t.component.c.heartbeat_at < forget_before))

    @to_the_end
    async def forget(self, processes: Sequence[str]) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(t.component).where(t.component.c.process.in_(processes)))

    async def all(self) -> list[ComponentHealth]:
        query = select(t.component).order_by(t.component.c.process, t.component.c.name)
        async with self._database.read() as connection:
            return [ComponentHealth(**row._mapping) for row in await connection.execute(query)]
