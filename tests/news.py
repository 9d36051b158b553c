"""Days of labelled news for tests: calm ones, and a burst of bad news."""

import random
from datetime import datetime, timedelta
from typing import Any

from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.domain.spikes import Spike
from monitor.storage.sightings import Looked
from monitor.storage.store import Store
from tests.factories import NOW, make_article, make_label, make_labelled

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"


def told(*of: object) -> str:
    """A headline that tells its own story: the same for the same seed, and like no other."""
    chance = random.Random(" ".join(map(str, of)))
    words = ("".join(chance.choice(letters) for letters in (_CONSONANTS, _VOWELS) * 3) for _ in range(6))
    return " ".join(words).capitalize()


def item(title: str, at: datetime, sentiment: Sentiment, **overrides: Any) -> LabelledArticle:
    article = make_article(title=title, published_at=at, fetched_at=at, url=None, **overrides)
    return make_labelled(article=article, label=make_label(sentiment={sentiment: 1.0}))


def calm(days: float, until: datetime = NOW) -> list[LabelledArticle]:
    """Two neutral stories an hour, every eighth of them negative."""
    moments = [until - timedelta(minutes=30 * n + 1) for n in range(int(days * 48))]
    return [
        item(told("calm", at), at, Sentiment.NEGATIVE if n % 8 == 4 else Sentiment.NEUTRAL, source=f"wire {n % 5}")
        for n, at in enumerate(moments)
    ]


def burst(count: int = 12, end: datetime = NOW, **overrides: Any) -> list[LabelledArticle]:
    return [
        item(
            told("burst", n, end),
            end - timedelta(minutes=1 + n),
            Sentiment.NEGATIVE,
            **{"source": f"wire {n % 5}", **overrides},
        )
        for n in range(count)
    ]


async def stated(store: Store, *spikes: Spike) -> set[str]:
    """Puts spikes into the table."""
    return await store.sightings.save(Looked([], {}, spikes, []))
