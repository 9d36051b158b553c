"""The bench of the clusterer: its articles and its figures."""

from datetime import timedelta
from itertools import islice

import pytest

from monitor.bench import stories as bench
from monitor.bench.stories import measure, synthetic
from pipelines.stories.clusters import Stories


def test_synthetic_articles_are_the_same_for_a_seed_and_mix_news_with_copies() -> None:
    first, again = (list(islice(synthetic(3, timedelta(seconds=1)), 600)) for _ in range(2))
    assert first == again
    assert len({article_id for article_id, *_ in first}) == 600
    stories = Stories()
    found = {stories.assign(*item) for item in first}
    assert 0.75 * 600 < len(found) < 0.95 * 600


def test_every_fill_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_RIVAL", 200)
    figures = measure(counts=(300, 100), seed=3)
    assert [fill["articles"] >= count for fill, count in zip(figures["fills"], (100, 300), strict=True)] == [True, True]
    assert all(fill["us_least"] <= fill["us_per_article"] <= fill["us_most"] for fill in figures["fills"])
