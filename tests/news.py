"""Days of labelled news for tests: calm ones, and a burst of bad news."""

from datetime import datetime, timedelta
from typing import Any

from monitor.domain.labels import LabelledArticle, Sentiment
from tests.factories import NOW, make_article, make_label, make_labelled


def item(title: str, at: datetime, sentiment: Sentiment, **overrides: Any) -> LabelledArticle:
    article = make_article(title=title, published_at=at, fetched_at=at, url=None, **overrides)
    return make_labelled(article=article, label=make_label(sentiment={sentiment: 1.0}))


def calm(days: float, until: datetime = NOW) -> list[LabelledArticle]:
    """Two neutral stories an hour, every eighth of them negative."""
    moments = [until - timedelta(minutes=30 * n + 1) for n in range(int(days * 48))]
    return [
        item(f"Calm {at}", at, Sentiment.NEGATIVE if n % 8 == 4 else Sentiment.NEUTRAL, source=f"wire {n % 5}")
        for n, at in enumerate(moments)
    ]


def burst(count: int = 12, end: datetime = NOW, **overrides: Any) -> list[LabelledArticle]:
    return [
        item(
            f"Bank fails {n} {end}",
            end - timedelta(minutes=1 + n),
            Sentiment.NEGATIVE,
            **{"source": f"wire {n % 5}", **overrides},
        )
        for n in range(count)
    ]
