"""Plays the past under a configuration, in a folder of its own that is gone afterwards."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from monitor import app
from monitor.backtest import stored
from monitor.backtest.again import play_again
from monitor.backtest.facts import Played, gather
from monitor.replay import replay
from monitor.settings import BusSettings, DatabaseSettings, Settings
from monitor.storage.database import Database

Progress = Callable[[int], None]


class Archives(NamedTuple):
    """The past as files, in the order of their time."""

    files: Sequence[Path]


class Tables(NamedTuple):
    """The past as a database holds it. `relabel`: with labels made anew."""

    url: str
    span: stored.Span = stored.Span()
    relabel: bool = False


async def backtest(
    settings: Settings,
    past: Archives | Tables,
    *,
    stop: asyncio.Event,
    progress: Progress = lambda _: None,
    against: Settings | None = None,
    again: Progress = lambda _: None,
) -> tuple[Played, Played | None]:
    """What these settings would have told, and what others would have of the same past, if `against` are given.

    The database, the bus and the channels that the settings name are not touched, but for reading what is stored.
    Labels made for the first run serve the second, where both ask for the same ones.
    Raises: ConfigError, ModelError, FetchError, StoreError, BusError.
    """
    async with _apart(settings) as mine:
        await _play(mine, past, stop, progress)
        found = await gather(mine)
        if against is None or stop.is_set():
            return found, None
        if labels_alike(settings, against):
            past = Tables(app.database_url(mine))
        async with _apart(against) as theirs:
            await _play(theirs, past, stop, again)
            return found, await gather(theirs)


def labels_alike(one: Settings, other: Settings) -> bool:
    """Whether two configurations take in the same articles and label them alike."""
    return all(
        getattr(one, section) == getattr(other, section) for section in ("classifier", "classify", "models", "ingest")
    ) and (one.database.retention_days == other.database.retention_days)


@asynccontextmanager
async def _apart(settings: Settings) -> AsyncIterator[Settings]:
    """The same settings, but with tables and a log of their own, and nobody to tell."""
    with tempfile.TemporaryDirectory(prefix="monitor-backtest-", ignore_cleanup_errors=True) as folder:
        yield settings.model_copy(
            update={
                "data_dir": Path(folder),
                "database": DatabaseSettings(retention_days=settings.database.retention_days),
                "bus": BusSettings(partitions=settings.bus.partitions),
            }
        )


async def _play(settings: Settings, past: Archives | Tables, stop: asyncio.Event, progress: Progress) -> None:
    if isinstance(past, Archives):
        # As if it were sent: so that the routes, the groups and the ids are those of the daemon.
        await replay(settings, past.files, speed=None, deliver=True, silent=True, stop=stop, progress=progress)
        return
    database = await Database.open(past.url)
    try:
        await stored.copy_coverage(database, app.database_url(settings))
        articles = stored.read(database, past.span)
        await play_again(settings, articles, relabel=past.relabel, stop=stop, progress=progress)
    finally:
        await database.aclose()
