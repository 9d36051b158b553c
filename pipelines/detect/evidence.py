"""The stories behind the scores: what each key's negatives were, for as long as a detector looks back."""

from monitor.domain.spikes import StoryEvidence
from monitor.domain.windows import Key
from monitor.storage.sightings import Sighting


class _Told:
    """One story on one key: the bucket and the article that first told it as bad news, and who else did."""

    __slots__ = ("articles", "bucket", "first", "sources")

    def __init__(self, bucket: int, first: Sighting) -> None:
        self.bucket = bucket
        self.first = first
        self.articles = 1
        self.sources = {first.source}


class Evidence:
    """The negative stories of the last `reach` buckets, by key.

    Shapes: buckets are unix_s // 300, as the detector counts them.
    """

    def __init__(self, reach: int) -> None:
        self._reach = reach
        self._keys: dict[Key, dict[str, _Told]] = {}
        self._swept = 0

    def take(self, key: Key, bucket: int, article: Sighting, story: str, *, is_first: bool) -> None:
        """A negative article: it tells its story for the first time, or is one more of it."""
        stories = self._keys.setdefault(key, {})
        if is_first:
            stories[story] = _Told(bucket, article)
        elif (told := stories.get(story)) is not None:
            told.articles += 1
            told.sources.add(article.source)

    def advance(self, bucket: int) -> None:
        """Drops what lies too far back; now and then, since that is looked up by key."""
        if bucket < self._swept + self._reach:
            return
        self._swept = bucket
        oldest = bucket - self._reach
        for key in list(self._keys):
            kept = {story: told for story, told in self._keys[key].items() if told.bucket > oldest}
            if kept:
                self._keys[key] = kept
            else:
                del self._keys[key]

    def stories(self, key: Key, after: int) -> list[StoryEvidence]:
        """Those first told in buckets later than `after`, the most widely carried first."""
        told = [(story, one) for story, one in self._keys.get(key, {}).items() if one.bucket > after]
        found = [_evidence(story, one) for story, one in told]
        return sorted(found, key=lambda one: (-one.sources, -one.articles, -one.probability, one.article_id))

    def sources(self, key: Key, after: int) -> int:
        """How many sources carried these."""
        return len({source for one in self._keys.get(key, {}).values() if one.bucket > after for source in one.sources})


def _evidence(story: str, told: _Told) -> StoryEvidence:
    first = told.first
    return StoryEvidence(
        story_id=story,
        article_id=first.id,
        title=first.title,
        url=first.url,
        source=first.source,
        published_at=first.published_at,
        topic=first.topic or "",
        probability=first.negative or 0.0,
        articles=told.articles,
        sources=len(told.sources),
    )
