"""The way in, for feeds and archives alike: normalise, drop what is known, publish."""

import json
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import anyio.to_thread

from monitor.bus.bus import Bus, Message
from monitor.bus.streams import Stream
from monitor.domain.article import Article
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import encode
from monitor.errors import RecordError
from monitor.stage import dead_letter
from monitor.storage.store import Store
from pipelines.ingest.normalise import Plausibility, article
from pipelines.ingest.source import Entry, Refused

STAGE = "ingest"
_MEMORY = 50_000


class Taken(NamedTuple):
    """What became of some entries. `published` + `duplicates` + `refused` + `expired` is their number.

    `expired`: older than the database keeps articles; stored, they would be deleted, met again, and counted twice.
    """

    published: int
    duplicates: int
    refused: int
    expired: int = 0

    def plus(self, other: "Taken") -> "Taken":
        return Taken(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Arrival(NamedTuple):
    """An entry, the source it counts for, and when it was fetched."""

    entry: Entry
    source: str
    fetched_at: datetime


class Intake:
    """Publishes each article once, as far as it can tell: the tables make sure of it later.

    What was published but is not stored yet is remembered by the last 50,000 ids; what is stored, by the table.
    """

    def __init__(
        self, bus: Bus, store: Store, plausibility: Plausibility, *, retention: timedelta | None = None
    ) -> None:
        self._bus = bus
        self._store = store
        self._plausibility = plausibility
        self._retention = retention
        self._recent: OrderedDict[str, None] = OrderedDict()

    async def take(
        self,
        arrivals: Sequence[Arrival],
        refused: Sequence[Refused],
        now: datetime,
        *,
        distrusted: Collection[str] = (),
    ) -> Taken:
        """Durable on return: what is neither stored nor known is on the bus, and what was refused is a dead letter.

        `distrusted`: guids and links that do not identify.
        Raises: BusError, StoreError; then call again, nothing is doubled by it.
        """
        articles, letters = await anyio.to_thread.run_sync(self._normalise, arrivals, distrusted, now)
        kept = [item for item in articles if self._retention is None or item.published_at >= now - self._retention]
        expired = len(articles) - len(kept)
        letters += [dead_letter(STAGE, item.error, now, key=STAGE, value=item.raw) for item in refused]
        fresh = {item.id: item for item in kept if item.id not in self._recent}
        for known in await self._store.articles.known(list(fresh)):
            del fresh[known]
            self._remember(known)
        await self._bus.publish(Stream.ARTICLES, [Message(item.id, encode(item)) for item in fresh.values()])
        await self._bus.publish(Stream.DEAD_LETTERS, [Message(STAGE, encode(letter)) for letter in letters])
        for published in fresh:
            self._remember(published)
        return Taken(len(fresh), len(kept) - len(fresh), len(letters), expired)

    def _normalise(
        self, arrivals: Sequence[Arrival], distrusted: Collection[str], now: datetime
    ) -> tuple[list[Article], list[DeadLetter]]:
        articles: list[Article] = []
        letters: list[DeadLetter] = []
        for arrival in arrivals:
            try:
                articles.append(
                    article(
                        arrival.entry,
                        source=arrival.source,
                        fetched_at=arrival.fetched_at,
                        plausibility=self._plausibility,
                        distrusted=distrusted,
                    )
                )
            except RecordError as error:
                raw = json.dumps(arrival.entry.raw, ensure_ascii=False).encode("utf-8", "surrogatepass")
                letters.append(dead_letter(STAGE, error, now, key=arrival.source, value=raw))
        return articles, letters

    def _remember(self, article_id: str) -> None:
        self._recent[article_id] = None
        if len(self._recent) > _MEMORY:
            self._recent.popitem(last=False)
