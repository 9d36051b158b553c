"""A made-up past for a database: articles that name some of many keys, looked at already, and all that was counted."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from monitor.domain.article import Article
from monitor.domain.labels import Label, LabelledArticle, Sentiment, Topic
from monitor.domain.record import fingerprint
from monitor.domain.windows import ALL, RESOLUTIONS_S, Key, bucket_number, bucket_start_s
from monitor.storage import tables as t
from monitor.storage.articles import micro
from monitor.storage.database import Database
from pipelines.detect.detector import Detector

DAYS: Final = 30
SOURCES: Final = tuple(f"Wire {n}" for n in range(60))
MODEL: Final = "bench"

_NAMES: Final = 3  # of an article of the past
_NEGATIVE: Final = 0.5
_IN_TITLE: Final = 4
_BAD: Final = 0.9  # probability of the negative label
_GOOD: Final = 0.05
_CHUNK: Final = 5_000


class Telling(NamedTuple):
    """One article, before it is a record."""

    id: str
    source: str
    title: str
    summary: str
    names: Sequence[str]
    published_at: datetime
    fetched_at: datetime
    topic: Topic
    negative: float

    def labelled(self) -> LabelledArticle:
        article = Article(
            id=self.id,
            story_id=self.id,
            source=self.source,
            title=self.title,
            summary=self.summary,
            language="en",
            published_at=self.published_at,
            time_basis="publisher",
            fetched_at=self.fetched_at,
        )
        shares = {Sentiment.NEGATIVE: self.negative, Sentiment.NEUTRAL: 1 - self.negative}
        return LabelledArticle(
            article=article, label=Label(topic={self.topic: 1.0}, sentiment=shares, model_version=MODEL)
        )


class Teller:
    """Invents news about a number of names; the same ones each time."""

    def __init__(self, names: int) -> None:
        self._random = random.Random(7)
        self._told = 0
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        self._words = ["".join(self._random.choices(syllables, k=3)) for _ in range(5_000)]
        count = len(syllables)
        self.names = [
            f"{syllables[n % count]}{syllables[n // count % count]}ner "
            f"{syllables[n * 31 % count]}{syllables[n * 17 // count % count]}{syllables[n // count**2]}".title()
            for n in range(names)
        ]

    def tell(self, fetched_at: datetime, names: Sequence[str] | None = None, *, bad: bool | None = None) -> Telling:
        """An article about these, or about some; bad news, or as it happens."""
        draw = self._random
        names = draw.sample(self.names, _NAMES) if names is None else names
        self._told += 1
        words = draw.choices(self._words, k=34)
        text = " ".join(words[6:])
        title = f"{' '.join(words[:3])} {', '.join(names[:_IN_TITLE])} {' '.join(words[3:6])}"
        also = ", ".join(names[_IN_TITLE:])
        return Telling(
            fingerprint("bench", str(self._told)),
            draw.choice(SOURCES),
            title,
            f"{words[6]} besides {also} and {text}" if also else text,
            names,
            fetched_at - timedelta(seconds=draw.randrange(1_800)),
            fetched_at,
            draw.choice(list(Topic)),
            _BAD if (draw.random() < _NEGATIVE if bad is None else bad) else _GOOD,
        )

    def past(self, articles: int, until: datetime) -> Iterator[Telling]:
        """So many, evenly over the days before."""
        step = timedelta(days=DAYS) / articles
        for number in range(articles, 0, -1):
            yield self.tell(until - number * step)


async def fill(database: Database, detector: Detector, past: Iterator[Telling]) -> int:
    """Puts articles into all tables as if they had been looked at, and tells the detector. Returns how many they were.

    Quickly: past the stages, day by day, so that buckets come in the order of their keys.
    """
    tables = {table: database.bulk(table) for table in (t.article, t.label)}
    trends = database.bulk(t.trend, add=["positive", "neutral", "negative", "unlabelled", "polarity_micro", *_SEEN])
    sources = database.bulk(t.trend_source)
    seen = 0
    for _, of_day in groupby(past, key=lambda one: one.published_at.date()):
        told = list(of_day)
        counts: dict[tuple[int, int, Key], list[int]] = {}
        heard: set[tuple[int, int, Key, str]] = set()
        for one in told:
            keys = [
                ALL,
                Key("source", one.source),
                Key("topic", one.topic),
                *(Key("entity", name) for name in one.names),
            ]
            _tell(detector, one, keys)
            bad = int(one.negative == _BAD)
            for width_s in RESOLUTIONS_S.values():
                start_s = bucket_start_s(one.published_at, width_s)
                for key in keys:
                    sums = counts.setdefault((width_s, start_s, key), [0, 0])
                    sums[bad] += 1
                    heard.add((width_s, start_s, key, one.source))
        carried = Counter((width_s, start_s, key) for width_s, start_s, key, _ in heard)
        rows: dict[Any, list[tuple[Any, ...]]] = {
            tables[t.article]: sorted(_article(one, seen + n) for n, one in enumerate(told, 1)),
            tables[t.label]: sorted(_label(one) for one in told),
            trends: [
                (*_place(place), 0, good, bad, 0, _polarity(good, bad), good + bad, bad, carried[place])
                for place, (good, bad) in sorted(counts.items())
            ],
            sources: [(*_place(where[:3]), where[3]) for where in sorted(heard)],
        }
        for bulk, lines in rows.items():
            for start in range(0, len(lines), _CHUNK):
                async with database.write() as connection:
                    await bulk.insert(connection, lines[start : start + _CHUNK])
        seen += len(told)
    return seen


_SEEN: Final = ("stories", "negative_stories", "sources")


def _tell(detector: Detector, one: Telling, keys: Sequence[Key]) -> None:
    bucket = bucket_number(one.fetched_at)
    detector.advance(bucket)
    for key in keys:
        if key == ALL:
            detector.volume(bucket, 1)
        if key.kind != "source":
            detector.take(key, bucket, int(one.negative == _BAD), 1)


def _place(place: tuple[int, int, Key]) -> tuple[int, datetime, str, str]:
    width_s, start_s, key = place
    return width_s, _moment(start_s), key.kind, key.name


@lru_cache(4096)
def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _polarity(good: int, bad: int) -> int:
    return good * micro(-_GOOD) + bad * micro(-_BAD)


def _article(one: Telling, seen: int) -> tuple[Any, ...]:
    where = (one.id, one.id, one.source, None, None, one.title, one.summary, "en", None)
    return (*where, one.published_at, "publisher", one.fetched_at, MODEL, seen)


def _label(one: Telling) -> tuple[Any, ...]:
    sentiment = "negative" if one.negative == _BAD else "neutral"
    return (one.id, MODEL, one.topic, sentiment, one.negative, 1 - one.negative, 0.0, f'{{"{one.topic}": 1.0}}')
