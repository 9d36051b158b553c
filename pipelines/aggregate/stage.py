"""Stores labelled articles and counts them; stores dead letters."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from monitor.bus.bus import Received
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.labels import LabelledArticle
from monitor.domain.record import decode
from monitor.errors import RecordError
from monitor.settings import AggregateSettings
from monitor.stage import Outcome, Rejected
from monitor.storage.store import Store

log = structlog.get_logger(__name__)


class Counted(NamedTuple):
    """Articles since the start of the process. `stored` includes the `unlabelled`, and not the `duplicates`."""

    stored: int
    unlabelled: int
    duplicates: int


class Aggregate:
    """The processor of the aggregate stage. The tables are the state: memory holds counts for reports, no more."""

    def __init__(self, store: Store, settings: AggregateSettings) -> None:
        self._store = store
        self._settings = settings
        self._counted = Counted(0, 0, 0)

    def snapshot(self) -> Counted:
        return self._counted

    async def process(self, batch: Sequence[Received]) -> Outcome:
        articles: list[LabelledArticle] = []
        rejected: list[Rejected] = []
        for message in batch:
            try:
                articles.append(decode(LabelledArticle, message.value))
            except RecordError as error:
                rejected.append(Rejected(message, error))
        new = await self._store.articles.add(articles)
        unlabelled = sum(1 for item in new if item.label is None)
        duplicates = len(articles) - len(new)
        before = self._counted
        self._counted = Counted(
            before.stored + len(new), before.unlabelled + unlabelled, before.duplicates + duplicates
        )
        if new:
            log.info("batch_stored", new=len(new), unlabelled=unlabelled, duplicates=duplicates)
        if len(new) <= self._settings.show_headlines:
            for item in new:
                _show(item)
        return Outcome(rejected=rejected)


def _show(item: LabelledArticle) -> None:
    label = item.label
    log.info(
        "headline",
        source=item.article.source,
        sentiment=None if label is None else str(label.top_sentiment),
        topic=None if label is None else str(label.top_topic),
        title=item.article.title,
    )


class KeepDeadLetters:
    """The processor that moves dead letters from their stream to their table."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def process(self, batch: Sequence[Received]) -> Outcome:
        letters: list[DeadLetter] = []
        for message in batch:
            try:
                letters.append(decode(DeadLetter, message.value))
            except RecordError as error:
                # It cannot go to the dead letters again; the log keeps what can be kept.
                log.error("dead_letter_unreadable", detail=error.detail, value=message.value[:2000])  # noqa: TRY400
        if letters:
            await self._store.dead_letters.add(letters)
        return Outcome()
