"""Plays articles that were taken in before through the stages, on the clock of their arrival."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

from monitor import app
from monitor.bus.bus import Message
from monitor.bus.streams import Stream
from monitor.clock import ManualClock
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import encode
from monitor.domain.windows import BUCKET_S, bucket_start
from monitor.line import Line
from monitor.settings import Settings

_CHUNK = 500
_BUCKET = timedelta(seconds=BUCKET_S)


async def play_again(
    settings: Settings,
    articles: AsyncIterator[LabelledArticle],
    *,
    relabel: bool,
    stop: asyncio.Event,
    progress: Callable[[int], None],
) -> None:
    """Stores, counts, detects and groups as the daemon did, or would have under these settings; sends nothing.

    `articles` are in the order of their fetch time. Their labels are kept; `relabel`: made anew.
    Raises: BusyError, ConfigError, ModelError, StoreError, BusError.
    """
    chunks = _chunks(articles)
    chunk = await anext(chunks, None)
    if chunk is None:
        return
    async with AsyncExitStack() as stack:
        clock = ManualClock(chunk[0].article.fetched_at)
        core = await stack.enter_async_context(app.open_core(settings, clock))
        classify = await stack.enter_async_context(app.build_classify(core)) if relabel else None
        counts = await app.build_counts(core)
        detect = app.build_detect(core)
        alerts, (_, dispatch) = await app.build_alerts(core, {}, silent=True)
        line = Line(detect, alerts, dispatch, store=core.store, clock=clock, settings=settings)
        unseen: set[datetime] = set()
        while chunk is not None and not stop.is_set():
            if classify is None:
                await core.bus.publish(Stream.LABELLED, [Message(item.article.id, encode(item)) for item in chunk])
            else:
                await core.bus.publish(
                    Stream.ARTICLES, [Message(item.article.id, encode(item.article)) for item in chunk]
                )
                await classify.catch_up()
            await counts.aggregate.catch_up()
            await counts.dead_letters.catch_up()
            unseen |= {bucket_start(item.article.fetched_at) for item in chunk}
            progress(len(chunk))
            chunk = await anext(chunks, None)
            complete = {start for start in unseen if chunk is None or start + _BUCKET <= chunk[0].article.fetched_at}
            unseen -= complete
            await line.look(complete, last=chunk is None)
        if not stop.is_set():
            await line.finish()


async def _chunks(articles: AsyncIterator[LabelledArticle]) -> AsyncIterator[list[LabelledArticle]]:
    chunk: list[LabelledArticle] = []
    async for item in articles:
        chunk.append(item)
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
