"""The measurement of the pipeline: what it makes up, what it says, and that it stays away from what is there."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.bench import pipeline
from monitor.bench.pipeline import Mark
from monitor.domain.article import Article
from monitor.domain.record import decode
from monitor.errors import ConfigError
from monitor.settings import of
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.acceptance.command import Workplace
from tests.factories import make_article, make_labelled


def run(tmp_path: Path, *, database: str | None = None, processes: bool = False) -> dict[str, Any]:
    given: dict[str, Any] = {"data_dir": str(tmp_path), "classifier": {"kind": "lexicon"}}
    settings = of(given if database is None else {**given, "database": {"url": database}})
    return pipeline.measure(settings, [], 400, processes=processes, probe=50)


@pytest.mark.parametrize("processes", [False, True])
def test_a_run_says_where_the_time_goes(tmp_path: Path, processes: bool) -> None:
    found = run(tmp_path, processes=processes)
    assert (found["bus"], found["articles"], found["processes"]) == ("embedded", 400, 3 if processes else 1)
    assert found["articles_per_s"] == pytest.approx(400 / found["took_s"])
    assert len(found["tenths_per_s"]) == 10
    parts = found["parts"]
    assert {"publish: bus", "classify: label", "classify: records", "aggregate: tables"} <= set(parts)
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
    assert all(part["cpu_us"] > 0 for part in parts.values())


def test_tables_that_hold_something_are_left_alone(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "mine.sqlite3")

    async def fill() -> None:
        store = await Store.open(url)
        await store.articles.add([make_labelled()])
        await store.aclose()

    asyncio.run(fill())
    with pytest.raises(ConfigError, match=r"database\.url: expected an empty database; it holds 1 articles"):
        run(tmp_path, database=url)


def test_what_is_repeated_is_new_and_later() -> None:
    templates = [make_article(title="a"), make_article(title="b")]
    source = pipeline._Articles(templates)
    made = [decode(Article, message.value) for message in [*source.take(3), *source.take(2)]]
    assert len({article.id for article in made}) == 5
    assert [article.title for article in made] == ["a", "b", "a", "b", "a"]
    assert made[2].published_at - made[0].published_at == timedelta(minutes=5)


def test_tenths_are_told_by_the_marks_next_to_their_ends() -> None:
    marks = [Mark(0, 0.0), *(Mark(100 * n, float(n)) for n in range(1, 6)), Mark(1000, 15.0)]
    assert pipeline._tenths(marks, 1000) == [100.0] * 5 + [0.0, 0.0, 50.0, 0.0, 0.0]


def test_an_archive_without_articles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("{}\n")
    done = Workplace(tmp_path / "place").call("bench", "pipeline", str(tmp_path / "empty.jsonl"))
    assert done.code == 2
    assert "FILE" in done.err
