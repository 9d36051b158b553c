"""A bus in one SQLite file: the same streams, keys, partitions, groups and offsets as Kafka, without a server."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from monitor.bus.bus import Message, Received
from monitor.bus.streams import READS, Group, Stream, partition_of
from monitor.clock import Clock
from monitor.errors import BusError, ConfigError, Mistake, Reason

T = TypeVar("T")

# Another process may append to the file without this one hearing of it: look this often.
_POLL_S = 0.2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (
    stream TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (stream, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    stream TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
    appended_at REAL NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (stream, partition, "offset")
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS committed (
    consumer_group TEXT NOT NULL, stream TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, stream, partition)
) WITHOUT ROWID;
"""


class EmbeddedBus:
    """Every call runs in one worker thread of its own, so the event loop never waits for the disk.

    One member per group: the daemon's stage locks see to that. `path` None keeps the log in memory.
    Raises: BusError from every call, if the file cannot be read or written.
    """

    def __init__(self, path: Path | None, *, partitions: int, retention: timedelta, clock: Clock) -> None:
        self.partitions = partitions
        self._path = path
        self._retention = retention
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bus")
        self._appended: dict[Stream, asyncio.Event] = defaultdict(asyncio.Event)
        self._db: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: Path | None, *, partitions: int, retention: timedelta, clock: Clock) -> "EmbeddedBus":
        """Opens the log, and makes it where there is none.

        Raises: ConfigError, if the log was made with another number of partitions.
        """
        bus = cls(path, partitions=partitions, retention=retention, clock=clock)
        try:
            await bus.call(bus._open)
        except BaseException:
            await bus.aclose()
            raise
        return bus

    async def publish(self, stream: Stream, messages: Sequence[Message]) -> None:
        if not messages:
            return
        await self.call(self._append, stream, messages)
        self._appended[stream].set()

    async def subscribe(self, group: Group) -> "EmbeddedConsumer":
        consumer = EmbeddedConsumer(self, group)
        await consumer.rewind()
        return consumer

    async def lag(self, group: Group) -> int:
        return await self.call(self._lag, group)

    async def trim(self) -> int:
        cutoff = (self._clock.now() - self._retention).timestamp()
        return await self.call(self._trim, cutoff)

    async def aclose(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, db.close)
        self._thread.shutdown(wait=False)

    async def wait(self, stream: Stream, timeout_s: float) -> None:
        """Returns when something was appended here, or may have been elsewhere."""
        event = self._appended[stream]
        try:
            async with asyncio.timeout(min(timeout_s, _POLL_S)):
                await event.wait()
        except TimeoutError:
            return

    def seen(self, stream: Stream) -> None:
        """To be called before reading: an append after this wakes `wait`."""
        self._appended[stream].clear()

    async def call(self, function: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        except (sqlite3.Error, OSError) as error:
            full = "full" in str(error) or "No space left" in str(error)
            raise BusError(
                Reason.STORAGE_FULL if full else Reason.STORAGE,
                f"{self._path or ':memory:'}: {error}" + ("; free some space on that disk" if full else ""),
            ) from error

    @property
    def db(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the log is closed")
        return self._db

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = db = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA busy_timeout = 10000")
        # Room for several records on a page (of a new file): what does not fit spills over onto a page of its own.
        db.execute("PRAGMA page_size = 16384")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 4096")
        # FULL: what publish() returned from survives a power cut. A feed may be told "not modified" ever after.
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        db.execute("INSERT OR IGNORE INTO setting VALUES ('partitions', ?)", (str(self.partitions),))
        made_with = int(db.execute("SELECT value FROM setting WHERE name = 'partitions'").fetchone()[0])
        if made_with != self.partitions:
            raise ConfigError(
                str(self._path),
                [
                    Mistake(
                        "bus.partitions", f"expected {made_with}, with which this log was made; got {self.partitions}"
                    )
                ],
            )
        db.executemany(
            "INSERT OR IGNORE INTO head VALUES (?, ?, 0)", [(s, p) for s in Stream for p in range(self.partitions)]
        )
        db.executemany(
            "INSERT OR IGNORE INTO committed VALUES (?, ?, ?, 0)",
            [(g, s, p) for g, s in READS.items() for p in range(self.partitions)],
        )

    def _append(self, stream: Stream, messages: Sequence[Message]) -> None:
        now = self._clock.now().timestamp()
        with _transaction(self.db) as db:
            heads = dict(db.execute("SELECT partition, next_offset FROM head WHERE stream = ?", (stream,)))
            rows = []
            for message in messages:
                partition = partition_of(message.key, self.partitions)
                rows.append((stream, partition, heads[partition], now, message.key, message.value))
                heads[partition] += 1
            db.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.executemany(
                "UPDATE head SET next_offset = ? WHERE stream = ? AND partition = ?",
                [(offset, stream, partition) for partition, offset in heads.items()],
            )

    def _lag(self, group: Group) -> int:
        row = self.db.execute(
            "SELECT SUM(h.next_offset - c.next_offset) FROM head h JOIN committed c"
            " ON c.stream = h.stream AND c.partition = h.partition WHERE c.consumer_group = ?",
            (group,),
        ).fetchone()
        return int(row[0] or 0)

    def _trim(self, cutoff: float) -> int:
        with _transaction(self.db) as db:
            return db.execute(
                'DELETE FROM message WHERE appended_at < ? AND "offset" < (SELECT MIN(next_offset) FROM committed c'
                " WHERE c.stream = message.stream AND c.partition = message.partition)",
                (cutoff,),
            ).rowcount

    def read_committed(self, group: Group) -> dict[int, int]:
        return dict(self.db.execute("SELECT partition, next_offset FROM committed WHERE consumer_group = ?", (group,)))

    def read(self, stream: Stream, positions: dict[int, int], limit: int) -> list[Received]:
        """At most `limit` messages, shared out among the partitions that have any."""
        heads = dict(self.db.execute("SELECT partition, next_offset FROM head WHERE stream = ?", (stream,)))
        waiting = {p: heads[p] - position for p, position in positions.items() if heads[p] > position}
        found: list[Received] = []
        # Shortest queue first: what it leaves of its share goes to the longer ones.
        for index, partition in enumerate(sorted(waiting, key=lambda p: (waiting[p], p))):
            share = (limit - len(found)) // (len(waiting) - index)
            rows = self.db.execute(
                'SELECT "offset", key, value FROM message WHERE stream = ? AND partition = ? AND "offset" >= ?'
                ' ORDER BY "offset" LIMIT ?',
                (stream, partition, positions[partition], share),
            )
            found.extend(Received(stream, partition, offset, key, value) for offset, key, value in rows.fetchall())
        return found

    def write_committed(self, group: Group, positions: dict[int, int]) -> None:
        # A power cut may undo this, and messages come again; what it would take to wait for the disk is saved.
        self.db.execute("PRAGMA synchronous = NORMAL")
        try:
            with _transaction(self.db) as db:
                db.executemany(
                    "UPDATE committed SET next_offset = ? WHERE consumer_group = ? AND partition = ?",
                    [(offset, group, partition) for partition, offset in positions.items()],
                )
        finally:
            self.db.execute("PRAGMA synchronous = FULL")


class EmbeddedConsumer:
    """The one member of its group."""

    def __init__(self, bus: EmbeddedBus, group: Group) -> None:
        self._bus = bus
        self._group = group
        self._stream = READS[group]
        self._positions: dict[int, int] = {}

    async def poll(self, max_records: int, *, timeout_s: float) -> Sequence[Received]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            self._bus.seen(self._stream)
            found = await self._bus.call(self._bus.read, self._stream, self._positions, max_records)
            if found:
                for message in found:
                    self._positions[message.partition] = message.offset + 1
                return found
            left_s = deadline - loop.time()
            if left_s <= 0:
                return ()
            await self._bus.wait(self._stream, left_s)

    async def commit(self) -> None:
        await self._bus.call(self._bus.write_committed, self._group, dict(self._positions))

    async def rewind(self) -> None:
        self._positions = await self._bus.call(self._bus.read_committed, self._group)


class _transaction:  # noqa: N801  (reads as a statement: `with _transaction(db)`)
    """BEGIN IMMEDIATE ... COMMIT, so that two processes appending at once wait instead of failing halfway."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._db.execute("ROLLBACK")
                raise
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")
