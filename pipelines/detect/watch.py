"""Looks at articles one after the other: which story they tell, what that adds to the trends, and what is a spike."""

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from monitor.domain.record import fingerprint
from monitor.domain.spikes import Spike, severity_of
from monitor.domain.stories import FirstTold, New, keys_of
from monitor.domain.windows import ALL, BUCKET_S, Key, bucket_start
from monitor.settings import DetectSettings
from monitor.storage.articles import micro
from monitor.storage.sightings import Added, Looked, Sighting
from pipelines.detect.detector import Detector, Finding
from pipelines.detect.evidence import Evidence
from pipelines.detect.hearing import Hearing
from pipelines.stories.clusters import Stories

LOOKS_BACK = timedelta(hours=72)
"""What a new watch is told of the past that its checkpoint does not hold: enough for stories and evidence."""

_REACH = int(timedelta(hours=48).total_seconds()) // BUCKET_S
"""Evidence of so many buckets is kept: no horizon is longer."""

_MAX_STORIES = 50


class Watch:
    """A deterministic function of the articles in the order in which they are looked at: no clock, no I/O.

    Time is that of the fetches, so what is found does not depend on when it is looked for. Articles fetched at one
    instant are taken in together, then every key that drew bad news is judged.
    """

    def __init__(self, detector: Detector, settings: DetectSettings) -> None:
        self._detector = detector
        self.hearing = Hearing()
        self._settings = settings
        self._stories = Stories()
        self._told = FirstTold()
        self._evidence = Evidence(_REACH)
        self._bucket: int | None = None
        self.seen = 0

    @property
    def version(self) -> str:
        return self._detector.version

    def take(self, articles: Sequence[Sighting]) -> Looked:
        """Looks at the next articles. Whole instants: all that one fetch brought come in one call."""
        placed: list[tuple[str, str, int]] = []
        buckets: dict[tuple[datetime, Key], Added] = {}
        spikes: list[Spike] = []
        resolved: list[tuple[Key, datetime]] = []
        for fetched_at, together in groupby(articles, key=lambda article: article.fetched_at):
            resolved += self.advance(fetched_at)
            hot: set[Key] = set()
            for article in together:
                story = self._stories.assign(article.id, article.title, article.summary, article.fetched_at)
                self.seen += 1
                placed.append((article.id, story, self.seen))
                for key, new in self._count(article, story):
                    _add(buckets, article, key, new)
                    if new.negative and key.kind in self._settings.keys:
                        hot.add(key)
            spikes += self._judge(hot, fetched_at)
        return Looked(placed, buckets, spikes, resolved)

    def advance(self, now: datetime) -> list[tuple[Key, datetime]]:
        """Time goes on, though nothing came. Returns the episodes that are over, each with when."""
        bucket = int(now.timestamp()) // BUCKET_S
        ended: list[tuple[Key, datetime]] = []
        if self._bucket is None:
            self._detector.advance(bucket)
            self._bucket = bucket
        while self._bucket < bucket:
            heard = self.hearing.heard(self._bucket)
            silent = [Key("source", name) for name in sorted(heard.silent)]
            self._bucket += 1
            over = self._detector.advance(self._bucket, observed=heard.share, silent=silent)
            ended += [(key, _moment(at + 1)) for key, at in over if isinstance(key, Key)]
        self._evidence.advance(self._bucket)
        return ended

    def remember(self, articles: Sequence[Sighting]) -> None:
        """Takes in what was looked at before the checkpoint that is loaded: for stories and evidence alone."""
        for article in articles:
            self._stories.remember(article.id, article.title, article.summary, article.fetched_at, article.story_id)
            for key, new in self._tell(article, article.story_id):
                if self._is_bad(article) and key.kind in self._settings.keys:
                    is_first = bool(new.negative)
                    self._evidence.take(key, _bucket_of(article), article, article.story_id, is_first=is_first)

    def repeat(self, articles: Sequence[Sighting]) -> None:
        """Looks again at what was looked at after the checkpoint: all comes out as it did, and is in the tables."""
        for fetched_at, together in groupby(articles, key=lambda article: article.fetched_at):
            self.advance(fetched_at)
            hot: set[Key] = set()
            for article in together:
                story = article.story_id
                self._stories.remember(article.id, article.title, article.summary, article.fetched_at, story)
                self.seen = article.seen or self.seen
                hot |= {key for key, new in self._count(article, story) if new.negative}
            self._judge({key for key in hot if key.kind in self._settings.keys}, fetched_at)

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

    def _is_bad(self, article: Sighting) -> bool:
        return (article.negative or 0.0) >= self._settings.negative_from

    def _tell(self, article: Sighting, story: str) -> list[tuple[Key, New]]:
        """The keys of an article, each with what is new to it."""
        at_s = article.fetched_at.timestamp()
        negative = self._is_bad(article)
        keys = keys_of(article.source, article.topic, article.title, article.summary)
        return [(key, self._told.take(key, story, at_s, negative=negative)) for key in keys]

    def _count(self, article: Sighting, story: str) -> list[tuple[Key, New]]:
        bucket = _bucket_of(article)
        told = self._tell(article, story)
        self.hearing.take(self._bucket or bucket, [article.source])
        for key, new in told:
            if key == ALL and new.story:
                self._detector.volume(bucket, 1)
            if key.kind not in self._settings.keys:
                continue
            if new.story or new.negative:
                self._detector.take(key, bucket, new.negative, new.story)
            if self._is_bad(article):
                self._evidence.take(key, bucket, article, story, is_first=bool(new.negative))
        return told

    def _judge(self, keys: Iterable[Key], at: datetime) -> list[Spike]:
        found = []
        for key in sorted(keys, key=lambda key: (key != ALL, key)):
            score = self._detector.score(key)
            if score is None:
                continue
            after = (self._bucket or 0) - score.horizon_s // BUCKET_S
            if self._evidence.sources(key, after) < self._settings.min_sources:
                continue
            finding = self._detector.judge(key)
            if finding is not None:
                found.append(self._spike(key, finding, at))
        return found

    def _spike(self, key: Key, finding: Finding, at: datetime) -> Spike:
        score = finding.score
        end = _moment(finding.bucket + 1)
        after = finding.bucket - score.horizon_s // BUCKET_S
        stories = self._evidence.stories(key, after)
        return Spike(
            # The stories are part of it: two installations that share a receiver state different spikes.
            id=fingerprint("spike", *key, end.isoformat(), *sorted(story.article_id for story in stories)),
            key=key,
            start=end - timedelta(seconds=score.horizon_s),
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
            stories=tuple(stories[:_MAX_STORIES]),
        )


def _add(buckets: dict[tuple[datetime, Key], Added], article: Sighting, key: Key, new: New) -> None:
    """Adds an article to its bucket. Who it names is counted here alone; the rest is, once it is stored."""
    counts = dict.fromkeys(("positive", "neutral", "negative", "unlabelled"), 0)
    polarity_micro = 0
    if key.kind == "entity":
        counts[article.sentiment or "unlabelled"] = 1
        polarity_micro = micro((article.positive or 0.0) - (article.negative or 0.0))
    added = Added(
        **counts,
        polarity_micro=polarity_micro,
        stories=new.story,
        negative_stories=new.negative,
        sources=frozenset({article.source}),
    )
    place = bucket_start(article.published_at), key
    known = buckets.get(place)
    buckets[place] = added if known is None else known.plus(added)


def _bucket_of(article: Sighting) -> int:
    """That of its publication; a stamp ahead of the fetch moves nothing ahead."""
    return int(min(article.published_at, article.fetched_at).timestamp()) // BUCKET_S


def _moment(bucket: int) -> datetime:
    return datetime.fromtimestamp(bucket * BUCKET_S, UTC)
