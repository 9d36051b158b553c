"""A backtest leaves alone what is configured, and plays stored articles with the labels they have."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import settings as configuration
from monitor.backtest import stored
from monitor.backtest.run import Tables, backtest, labels_alike
from monitor.backtest.stored import Span
from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.settings import Settings
from monitor.storage.database import Database, sqlite_url
from monitor.storage.store import Store
from tests.factories import NOW, make_article, make_label, make_labelled


def made(number: int, **overrides: Any) -> LabelledArticle:
    at = NOW + timedelta(minutes=number)
    article = make_article(
        title=f"Story number {number}",
        url=f"https://news.example.com/{number}",
        published_at=at,
        fetched_at=at,
        **overrides,
    )
    return make_labelled(article=article, label=make_label() if number % 3 else None)


async def write(path: Path, articles: Sequence[LabelledArticle]) -> str:
    url = sqlite_url(path)
    store = await Store.open(url)
    try:
        await store.articles.add(articles)
    finally:
        await store.aclose()
    return url


async def read(url: str, span: Span) -> list[LabelledArticle]:
    database = await Database.open(url)
    try:
        return [item async for item in stored.read(database, span)]
    finally:
        await database.aclose()


async def test_stored_articles_come_back_as_they_were_in_the_order_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_PAGE", 4)
    articles = [made(number) for number in range(10)]
    url = await write(tmp_path / "a.sqlite3", articles[::-1])
    assert await read(url, Span()) == articles
    part = Span(NOW + timedelta(minutes=2), NOW + timedelta(minutes=8))
    assert await read(url, part) == articles[2:8]


async def test_pages_lose_none_of_what_came_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_PAGE", 2)
    articles = [
        made(number).model_copy(update={"article": make_article(title=f"T{number}", published_at=NOW, fetched_at=NOW)})
        for number in range(7)
    ]
    url = await write(tmp_path / "a.sqlite3", articles)
    found = await read(url, Span())
    assert [item.article.id for item in found] == sorted(item.article.id for item in articles)


async def test_what_could_be_heard_is_copied(tmp_path: Path) -> None:
    urls = [sqlite_url(tmp_path / name) for name in ("from.sqlite3", "to.sqlite3")]
    past, copy = [await Store.open(url) for url in urls]
    database = await Database.open(urls[0])
    try:
        for source in ("wire", "ledger"):
            await past.coverage.heard(source, NOW, NOW + timedelta(hours=1))
        await stored.copy_coverage(database, urls[1])
        wanted, found = [
            await store.coverage.observed(NOW - timedelta(hours=1), NOW + timedelta(hours=2)) for store in (past, copy)
        ]
    finally:
        for opened in (past, copy, database):
            await opened.aclose()
    assert dict(found) == dict(wanted)
    assert any(observed.share for observed in found.values())


async def test_stored_labels_are_kept(tmp_path: Path) -> None:
    articles = [
        made(1).model_copy(update={"label": make_label(model_version="of old", sentiment={Sentiment.NEGATIVE: 1.0})}),
        made(2).model_copy(update={"label": make_label(sentiment={Sentiment.POSITIVE: 1.0})}),
    ]
    url = await write(tmp_path / "a.sqlite3", articles)
    settings = configuration.of({"data_dir": str(tmp_path / "data"), "classifier": {"kind": "lexicon"}})
    played, other = await backtest(settings, Tables(url), stop=asyncio.Event())
    assert other is None
    assert (played.articles, played.labelled) == (2, 2)
    assert [negative.title for negative in played.negatives] == ["Story number 1"]
    assert (played.first, played.last) == (articles[0].article.fetched_at, articles[1].article.fetched_at)
    assert not (tmp_path / "data").exists()


async def test_relabelled_means_labelled_by_the_configured_model(tmp_path: Path) -> None:
    article = made(1, summary="Shares plunge after heavy loss and default fears")
    kept = article.model_copy(update={"label": make_label(sentiment={Sentiment.POSITIVE: 1.0})})
    url = await write(tmp_path / "a.sqlite3", [kept])
    settings = configuration.of({"data_dir": str(tmp_path / "data"), "classifier": {"kind": "lexicon"}})
    as_stored, _ = await backtest(settings, Tables(url), stop=asyncio.Event())
    anew, _ = await backtest(settings, Tables(url, relabel=True), stop=asyncio.Event())
    assert (len(as_stored.negatives), len(anew.negatives)) == (0, 1)


@pytest.mark.parametrize(
    ("section", "alike"),
    [
        ({"detect": {"tick_s": 5}}, True),
        ({"alerts": {"group_wait_s": 5}}, True),
        ({"classifier": {"kind": "transformer"}}, False),
        ({"classify": {"languages": ["en", "de"]}}, False),
        ({"ingest": {"max_age_days": 5}}, False),
        ({"database": {"retention_days": 5}}, False),
    ],
)
def test_labels_serve_a_second_run_where_it_would_make_the_same(section: dict[str, Any], alike: bool) -> None:
    def of(**more: Any) -> Settings:
        return configuration.of({"classifier": {"kind": "lexicon"}, **more})

    assert labels_alike(of(), of(**section)) is alike
