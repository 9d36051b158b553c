"""Spikes made again from the tables alone, and what differs from what was stated."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from monitor.domain.spikes import Spike, StoryEvidence
from monitor.domain.stories import FirstTold, keys_of
from monitor.domain.windows import Key, bucket_number
from monitor.storage.sightings import Sighting, Sightings
from monitor.storage.store import Store
from pipelines.detect.evidence import Evidence
from pipelines.detect.order import in_order, looked_at
from pipelines.detect.watch import LOOKS_BACK, MAX_STORIES, Watch, bucket_of

_COUNTS = ("observed", "total", "sources")
_SCORED = ("horizon_s", "expected", "low", "high", "score", "per_week", "threshold", "severity", "detector")
_END = 2**62


class Difference(NamedTuple):
    """What is not as it was stated; None: it was not there."""

    what: str
    stated: Any
    recomputed: Any


class Counted(NamedTuple):
    """The evidence for a spike as the tables have it, by the articles numbered up to `upto` in the order of looking."""

    upto: int
    observed: int
    total: int
    sources: int
    stories: tuple[StoryEvidence, ...]


class Recount(NamedTuple):
    """A spike's evidence counted again; `why`, in words, is what the tables tell of the differences."""

    counted: Counted
    differences: list[Difference]
    why: list[str]


class Replay(NamedTuple):
    """A spike stated again, or not, by a detector that has learned from nothing but the tables."""

    spike: Spike | None
    articles: int
    differences: list[Difference]
    why: list[str]


async def recount(store: Store, spike: Spike, *, negative_from: float) -> Recount:
    """Counts the stories of a spike again: of the articles that had been looked at when it was stated.

    Raises: StoreError.
    """
    places = await _places(store.sightings, spike.detected_at)
    tally = _Tally(spike, negative_from)
    upto = 0
    async for article in in_order(store.sightings, upto=places[-1], since=spike.detected_at - LOOKS_BACK):
        tally.take(article)
        upto = article.seen or upto
        if upto in places and not _count_differences(spike, counted := tally.counted(upto)):
            return Recount(counted, [], [])
    counted = tally.counted(upto)
    differences = _count_differences(spike, counted)
    return Recount(counted, differences, await _why(store, spike, differences) if differences else [])


async def replay(
    store: Store, spike: Spike, untaught: Watch, *, upto: int, progress: Callable[[int], None] = lambda _: None
) -> Replay:
    """Looks again at every stored article up to the number `upto`, as the daemon did, and compares what it says.

    `progress` is told of each number that is done. Raises: StoreError.
    """
    [found] = await replay_all(store, [(spike, upto)], untaught, progress=progress)
    return found


async def replay_all(
    store: Store,
    stated: Sequence[tuple[Spike, int]],
    untaught: Watch,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Replay]:
    """The same for many spikes, each with the number of the last article that it rests on, by learning once.

    Returns them in the same order. Raises: StoreError.
    """
    watch = untaught
    first = await store.sightings.first_fetched_at()
    if stated and first is not None and await store.coverage.bounds() is not None:
        watch.hearing.know(await store.coverage.observed(first, max(spike.detected_at for spike, _ in stated)))
    replays: dict[int, Replay] = {}
    again: dict[tuple[Key, datetime], Spike] = {}
    wanted = {(spike.key, spike.detected_at) for spike, _ in stated}
    articles = after = 0
    # Each is compared before anything later is looked at: one that is not stated again is asked for its score then.
    for place, (spike, upto) in sorted(enumerate(stated), key=lambda one: one[1][1]):
        async for together in looked_at(store.sightings, after=after, upto=upto):
            for found in watch.take(together).spikes:
                if (found.key, found.detected_at) in wanted:
                    again[found.key, found.detected_at] = found
            articles += len(together)
            progress(together[-1].seen or 0)
        after = upto
        now = again.get((spike.key, spike.detected_at))
        differences, why = _scored_again(spike, now, watch)
        if differences and articles < upto:
            why.append(f"{upto - articles} of the {upto} articles that it had learned from are no longer stored")
        replays[place] = Replay(now, articles, differences, why)
    return [replays[place] for place in range(len(stated))]


def _scored_again(spike: Spike, again: Spike | None, watch: Watch) -> tuple[list[Difference], list[str]]:
    why = []
    if spike.detector != watch.detector:
        why.append(f"it was stated by {spike.detector}; this configuration has {watch.detector}")
    if again is not None:
        fields = ("id", "start", "end", *_COUNTS, *_SCORED)
        return [*_fields(spike, again, fields), *_story_differences(spike.stories, again.stories)], why
    score = watch.score(spike.key)
    if score is None:
        return [Difference("stated", True, False)], [*why, "the evidence is too thin for a score now"]
    now = {
        "observed": score.negative,
        "total": max(score.stories, score.negative),
        "score": score.value,
        **{name: getattr(score, name) for name in ("horizon_s", "expected", "low", "high", "per_week")},
    }
    changed = [Difference(name, getattr(spike, name), value) for name, value in now.items()]
    return [Difference("stated", True, False), *(one for one in changed if not _same(one.stated, one.recomputed))], why


class _Tally:
    """Counts the stories of one key in one window, as a watch does: all keys, for what is new to one hangs on time."""

    def __init__(self, spike: Spike, negative_from: float) -> None:
        self._key = spike.key
        self._first = bucket_number(spike.start)
        self._end = bucket_number(spike.end)
        self._negative_from = negative_from
        self._told = FirstTold()
        self._evidence = Evidence(self._end - self._first)
        self._negative = self._stories = 0

    def take(self, article: Sighting) -> None:
        is_bad = (article.negative or 0.0) >= self._negative_from
        bucket, at_s = bucket_of(article), article.fetched_at.timestamp()
        for key in keys_of(article.source, article.topic, article.title, article.summary):
            new = self._told.take(key, article.story_id, at_s, negative=is_bad)
            if key != self._key:
                continue
            if self._first <= bucket < self._end:
                self._negative += new.negative
                self._stories += new.story
            if is_bad:
                self._evidence.take(key, bucket, article, article.story_id, is_first=bool(new.negative))

    def counted(self, upto: int) -> Counted:
        after = self._first - 1
        stories = tuple(self._evidence.stories(self._key, after)[:MAX_STORIES])
        total = max(self._stories, self._negative)
        return Counted(upto, self._negative, total, self._evidence.sources(self._key, after), stories)


async def _places(sightings: Sightings, fetched_at: datetime) -> list[int]:
    """The numbers of the articles after which a spike of that fetch can have been stated: its last, as a rule.

    Articles of one instant may have been looked at in two goes. Where none of them is left: what came before it.
    """
    places: list[int] = []
    later: int | None = None
    after = 0
    while articles := await sightings.seen(after=after, since=fetched_at):
        for article in articles:
            after = article.seen or after
            if article.fetched_at != fetched_at:
                later = after - 1 if later is None else later
            elif places and places[-1] == after - 1:
                places[-1] = after
            else:
                places.append(after)
        if articles[-1].fetched_at != fetched_at:
            break
    return places or [_END if later is None else later]


def _count_differences(spike: Spike, counted: Counted) -> list[Difference]:
    found = [Difference(name, getattr(spike, name), getattr(counted, name)) for name in _COUNTS]
    return [
        *(one for one in found if one.stated != one.recomputed),
        *_story_differences(spike.stories, counted.stories),
    ]


def _fields(stated: object, again: object, names: Sequence[str], prefix: str = "") -> Iterator[Difference]:
    for name in names:
        one, other = getattr(stated, name), getattr(again, name)
        if name == "threshold" and one is None:
            continue  # stated by a release that did not tell
        if not _same(one, other):
            yield Difference(f"{prefix}{name}", one, other)


def _story_differences(stated: Sequence[StoryEvidence], again: Sequence[StoryEvidence]) -> Iterator[Difference]:
    now = {story.article_id: story for story in again}
    for story in stated:
        name = f"story {story.article_id[:8]}"
        other = now.pop(story.article_id, None)
        if other is None:
            yield Difference(name, story.title, None)
        else:
            yield from _fields(story, other, list(StoryEvidence.model_fields), f"{name}: ")
    for story in now.values():
        yield Difference(f"story {story.article_id[:8]}", None, story.title)


def _same(one: Any, other: Any) -> bool:
    """Numbers may differ by what another machine's rounding makes of them."""
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


async def _why(store: Store, spike: Spike, differences: Sequence[Difference]) -> list[str]:
    """What the tables tell of why the evidence is another now."""
    why = []
    named = [story.article_id for story in spike.stories]
    if gone := set(named) - await store.articles.known(named):
        why.append(
            f"{len(gone)} of the {len(named)} articles that first told its stories are no longer stored"
            " (database.retention_days, or deleted by hand)"
        )
    if any(one.what.endswith(("probability", "topic")) for one in differences):
        why.append("an article has another label now: labelled anew, or changed by hand")
    first = await store.sightings.first_fetched_at()
    if first is not None and first > spike.start:
        why.append(
            f"the oldest article that is still stored came in at {first:%Y-%m-%d %H:%M} UTC, after its window began"
        )
    if not why:
        why.append("an article, its label or its story was changed, or detect.negative_from was another")
    return why
