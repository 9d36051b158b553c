"""Looks at articles one after the other: which story they tell, what that adds to the trends, and what is a spike."""

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from monitor.domain.record import fingerprint
from monitor.domain.spikes import Spike, severity_of
from monitor.domain.stories import FirstTold, New, keys_of
from monitor.domain.windows import ALL, BUCKET_S, Key, bucket_moment, bucket_number, bucket_start, window
from monitor.settings import DetectSettings
from monitor.storage.articles import micro
from monitor.storage.sightings import Added, Looked, Sighting
from pipelines.detect.detector import Bar, Detector, Finding, Power, Score
from pipelines.detect.evidence import Evidence
from pipelines.detect.hearing import Hearing
from pipelines.stories.clusters import Stories

LOOKS_BACK = timedelta(hours=72)
"""What a new watch is told of the past that its checkpoint does not hold: enough for stories and evidence."""

_REACH = int(timedelta(hours=48).total_seconds()) // BUCKET_S
"""Evidence of so many buckets is kept: no horizon is longer."""

MAX_STORIES = 50
"""So many of its stories a spike names."""

_NONE = (0, 0, 0, 0, 0)


class Watch:
    """A deterministic function of the articles in the order in which they are looked at: no clock, no I/O.

    Time is that of the fetches, so what is found does not depend on when it is looked for. Articles fetched at one
    instant are taken in together, then every key that drew bad news is judged.
    """

    def __init__(self, detector: Detector, settings: DetectSettings) -> None:
        self._detector = detector
        self.hearing = Hearing()
        self._settings = settings
        self._stories = Stories(capacity=settings.story_capacity)
        self._told = FirstTold()
        self._evidence = Evidence(_REACH)
        self._bucket: int | None = None
        self.seen = 0

    @property
    def version(self) -> str:
        """What the state of a watch depends on: another one has to look at everything again."""
        settings = self._settings.model_dump(mode="json", exclude={"tick_s"})
        settings["keys"] = sorted(settings["keys"])
        return f"{self._detector.version} {json.dumps(settings, sort_keys=True)}"

    @property
    def detector(self) -> str:
        """The version of its detector, as its spikes name it."""
        return self._detector.version

    @property
    def looks_back(self) -> timedelta:
        """Its longest horizon."""
        return timedelta(seconds=max(self._detector.horizons_s))

    def open_episodes(self) -> set[Key]:
        """The keys whose episodes go on."""
        return {key for key in self._detector.open_episodes() if isinstance(key, Key)}

    def take(self, articles: Sequence[Sighting]) -> Looked:
        """Looks at the next articles. Whole instants: all that one fetch brought come in one call.

        Those that were looked at before, after the checkpoint that is loaded, keep their story and their number: all
        comes out as it did, and is in the tables already.
        """
        placed: list[tuple[str, str, int]] = []
        buckets: dict[tuple[datetime, Key], Added] = {}
        spikes: list[Spike] = []
        resolved: list[tuple[Key, datetime]] = []
        for fetched_at, together in groupby(articles, key=lambda article: article.fetched_at):
            resolved += self.advance(fetched_at)
            hot: set[Key] = set()
            for article in together:
                story = self._story(article)
                self.seen = article.seen or self.seen + 1
                placed.append((article.id, story, self.seen))
                told = self._count(article, story)
                _add(buckets, article, told)
                if self._is_news(article):
                    hot.update(key for key, new in told if new.negative)
            spikes += self._judge(hot, fetched_at)
        return Looked(placed, buckets, spikes, resolved)

    def advance(self, now: datetime) -> list[tuple[Key, datetime]]:
        """Time goes on, though nothing came. Returns the episodes that are over, each with when."""
        bucket = bucket_number(now)
        ended: list[tuple[Key, datetime]] = []
        if self._bucket is None:
            self._detector.advance(bucket)
            self._bucket = bucket
        while self._bucket < bucket:
            heard = self.hearing.heard(self._bucket)
            for past, share in heard.amended.items():
                self._detector.hear(past, share)
            silent = [Key("source", name) for name in sorted(heard.silent)]
            self._bucket += 1
            over = self._detector.advance(self._bucket, observed=heard.share, silent=silent)
            ended += [(key, bucket_moment(at + 1)) for key, at in over if isinstance(key, Key)]
        self._evidence.advance(self._bucket)
        return ended

    def remember(self, articles: Sequence[Sighting]) -> None:
        """Takes in what was looked at before the checkpoint that is loaded: for stories and evidence alone."""
        for article in articles:
            self._story(article)
            for key, new in self._tell(article, article.story_id):
                if self._is_bad(article) and key.kind in self._settings.keys:
                    is_first = bool(new.negative)
                    self._evidence.take(key, bucket_of(article), article, article.story_id, is_first=is_first)

    def score(self, key: Key) -> Score | None:
        """How surprising the evidence on a key is by now; None where it is too thin."""
        return self._detector.score(key)

    def bar(self, key: Key) -> Bar:
        """What the score of a key has to reach to fire now."""
        return self._detector.bar(key)

    def sources(self, key: Key) -> int:
        """How many sources the evidence on a key comes from, over the horizon of its score; 0 where it has none."""
        score = self._detector.score(key)
        if score is None:
            return 0
        return self._evidence.sources(key, (self._bucket or 0) - score.horizon_s // BUCKET_S)

    def power(self, key: Key) -> list[Power]:
        """What it would take to fire on a key now, by horizon."""
        detector = self._detector
        return [
            Power(horizon_s, detector.power(key, horizon_s), *detector.expected(key, horizon_s))
            for horizon_s in detector.horizons_s
        ]

    def dump(self) -> bytes:
        """What cannot be told from the articles of the last days."""
        parts = {"detector": self._detector.dump(), "hearing": self.hearing.dump()}
        texts = {name: base64.b64encode(state).decode() for name, state in parts.items()}
        return json.dumps({"bucket": self._bucket, "seen": self.seen, **texts}).encode()

    def load(self, state: bytes) -> None:
        """Raises: ValueError, if another version has dumped it."""
        found = json.loads(state)
        self._detector.load(base64.b64decode(found["detector"]))
        self.hearing.load(base64.b64decode(found["hearing"]))
        self._bucket, self.seen = found["bucket"], found["seen"]

    def _story(self, article: Sighting) -> str:
        """The story of an article: the one it was given, if it was looked at before."""
        text = article.id, article.title, article.summary, article.fetched_at
        if article.seen is None:
            return self._stories.assign(*text)
        self._stories.remember(*text, article.story_id)
        return article.story_id

    def _is_bad(self, article: Sighting) -> bool:
        return (article.negative or 0.0) >= self._settings.negative_from

    def _is_news(self, article: Sighting) -> bool:
        """Whether it may give an alarm: a backlog tells of what is over."""
        return (article.fetched_at - article.published_at).total_seconds() <= self._settings.alert_horizon_s

    def _tell(self, article: Sighting, story: str) -> list[tuple[Key, New]]:
        """The keys of an article, each with what is new to it."""
        at_s = article.fetched_at.timestamp()
        negative = self._is_bad(article)
        keys = keys_of(article.source, article.topic, article.title, article.summary)
        return [(key, self._told.take(key, story, at_s, negative=negative)) for key in keys]

    def _count(self, article: Sighting, story: str) -> list[tuple[Key, New]]:
        bucket = bucket_of(article)
        told = self._tell(article, story)
        is_bad = self._is_bad(article)
        self.hearing.take(self._bucket or bucket, [article.source])
        for key, new in told:
            if key == ALL and new.story:
                self._detector.volume(bucket, 1)
            if key.kind not in self._settings.keys:
                continue
            if new.story or new.negative:
                self._detector.take(key, bucket, new.negative, new.story)
            if is_bad:
                self._evidence.take(key, bucket, article, story, is_first=bool(new.negative))
        return told

    def _judge(self, keys: Iterable[Key], at: datetime) -> list[Spike]:
        found = []
        watched = [key for key in keys if key.kind in self._settings.keys]
        for key in sorted(watched, key=lambda key: (key != ALL, key)):
            if self._settings.min_sources > 1 and self.sources(key) < self._settings.min_sources:  # one any story has
                continue
            finding = self._detector.judge(key)
            if finding is not None:
                found.append(self._spike(key, finding, at))
        return found

    def _spike(self, key: Key, finding: Finding, at: datetime) -> Spike:
        score = finding.score
        start, end = window(bucket_moment(finding.bucket), timedelta(seconds=score.horizon_s))
        after = finding.bucket - score.horizon_s // BUCKET_S
        stories = self._evidence.stories(key, after)
        return Spike(
            # The stories are part of it: two installations that share a receiver state different spikes.
            id=fingerprint("spike", *key, end.isoformat(), *sorted(story.article_id for story in stories)),
            key=key,
            start=start,
            end=end,
            detected_at=at,
            observed=score.negative,
            total=max(score.stories, score.negative),
            expected=score.expected,
            score=score.value,
            severity=severity_of(score.per_week),
            sources=self._evidence.sources(key, after),
            detector=self._detector.version,
            horizon_s=score.horizon_s,
            low=score.low,
            high=score.high,
            per_week=score.per_week,
            threshold=finding.threshold,
            stories=tuple(stories[:MAX_STORIES]),
        )


def _add(buckets: dict[tuple[datetime, Key], Added], article: Sighting, told: Iterable[tuple[Key, New]]) -> None:
    """Adds an article to its buckets. Who it names is counted here alone; the rest is, once it is stored."""
    start, sources = bucket_start(article.published_at), frozenset({article.source})
    sentiment = article.sentiment
    polarity_micro = micro((article.positive or 0.0) - (article.negative or 0.0))
    signs = (sentiment == "positive", sentiment == "neutral", sentiment == "negative", sentiment is None)
    named = (int(signs[0]), int(signs[1]), int(signs[2]), int(signs[3]), polarity_micro)
    for key, new in told:
        counts = named if key.kind == "entity" else _NONE
        added = Added(*counts, new.story, new.negative, sources)
        known = buckets.get((start, key))
        buckets[start, key] = added if known is None else known.plus(added)


def bucket_of(article: Sighting) -> int:
    """Where an article counts: in that of its publication; a stamp ahead of the fetch moves nothing ahead."""
    return bucket_number(min(article.published_at, article.fetched_at))
