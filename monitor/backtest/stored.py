"""Labelled articles as they lie in the tables, in the order in which they came in."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from monitor.domain.article import Article
from monitor.domain.labels import Label, LabelledArticle, Sentiment
from monitor.storage import tables as t
from monitor.storage.database import Database

_PAGE = 2000
_COUNTED = and_(t.label.c.article_id == t.article.c.id, t.label.c.model_version == t.article.c.model_version)
_ARTICLE = [t.article.c[name] for name in Article.model_fields]
_LABEL = [t.label.c.model_version, t.label.c.topics, *(t.label.c[str(sentiment)] for sentiment in Sentiment)]


class Span(NamedTuple):
    """Of the articles those taken in (fetched) in [since, until)."""

    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = []
        if self.since is not None:
            found.append(t.article.c.fetched_at >= self.since)
        if self.until is not None:
            found.append(t.article.c.fetched_at < self.until)
        return found


async def count(database: Database, span: Span) -> int:
    """Raises: StoreError."""
    async with database.read() as connection:
        found: int = await connection.scalar(select(func.count()).select_from(t.article).where(*span.conditions())) or 0
    return found


async def read(database: Database, span: Span) -> AsyncIterator[LabelledArticle]:
    """Each article with the label that is counted, in the order in which they came in, a page at a time.

    Raises: StoreError.
    """
    query = select(*_ARTICLE, *_LABEL).outerjoin(t.label, _COUNTED).where(*span.conditions())
    order = (t.article.c.fetched_at, t.article.c.published_at, t.article.c.id)
    query = query.order_by(*order).limit(_PAGE)
    page = query
    while True:
        async with database.read() as connection:
            rows = list(await connection.execute(page))
        for row in rows:
            yield _labelled(row)
        if len(rows) < _PAGE:
            return
        page = query.where(_after(order, [getattr(rows[-1], column.name) for column in order]))


async def copy_coverage(past: Database, url: str) -> None:
    """Which sources could be heard when is no part of the articles: a feed that failed is not a quiet one.

    `url`: of the tables it is copied to. Raises: StoreError.
    """
    async with past.read() as connection:
        spans = [dict(row._mapping) for row in await connection.execute(select(t.coverage))]
    database = await Database.open(url)
    try:
        if spans:
            async with database.write() as connection:
                await connection.execute(t.coverage.insert(), spans)
    finally:
        await database.aclose()


def _after(columns: Sequence[ColumnElement[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """What comes behind these values in the order of these columns."""
    column, value = columns[0], values[0]
    behind: ColumnElement[bool] = column > value
    return or_(behind, and_(column == value, _after(columns[1:], values[1:]))) if columns[1:] else behind


def _labelled(row: Row[Any]) -> LabelledArticle:
    article = Article(**{name: getattr(row, name) for name in Article.model_fields})
    if row.model_version is None:
        return LabelledArticle(article=article, label=None)
    sentiment = {sentiment: getattr(row, sentiment) for sentiment in Sentiment}
    return LabelledArticle(
        article=article, label=Label(topic=row.topics, sentiment=sentiment, model_version=row.model_version)
    )
