"""The articles in the order in which they were looked at."""

from collections.abc import AsyncIterator
from datetime import datetime

from monitor.storage.sightings import Sighting, Sightings

_TOGETHER = 1000


async def looked_at(
    sightings: Sightings, *, after: int = 0, upto: int | None = None, since: datetime | None = None
) -> AsyncIterator[list[Sighting]]:
    """The articles that were looked at, in that order, those of one fetch never apart."""
    waiting: list[Sighting] = []
    async for article in in_order(sightings, after=after, upto=upto, since=since):
        if len(waiting) >= _TOGETHER and waiting[-1].fetched_at != article.fetched_at:
            yield waiting
            waiting = []
        waiting.append(article)
    if waiting:
        yield waiting


async def in_order(
    sightings: Sightings, *, after: int = 0, upto: int | None = None, since: datetime | None = None
) -> AsyncIterator[Sighting]:
    """One by one."""
    while articles := await sightings.seen(after=after, upto=upto, since=since):
        for article in articles:
            yield article
        after = articles[-1].seen or after
