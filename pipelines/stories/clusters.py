"""Stories found online: each article joins that of the nearest near-duplicate within the horizon, or begins one."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.stories.likeness import Side, likeness
from pipelines.stories.text import HEAD, KIND, Text, read

_HASHES: Final = 24  # per channel
_CHANNELS: Final = (12, 8, 8)  # bands of the title, of the summary's beginning, of the whole summary
_BANDS: Final = sum(_CHANNELS)
_WAYS: Final = 4  # newest articles remembered per bucket of a band
_CANDIDATES: Final = 8  # compared word by word, most bands in common first
_ORDINAL: Final = np.uint64((1 << 40) - 1)
_SHIFT: Final = np.uint64(40)

U64 = npt.NDArray[np.uint64]


class _Known:
    """What is kept of an article: enough to compare with it.

    Shapes: the words as packed 32-bit codes.
    """

    __slots__ = ("article_id", "at", "flags", "story_id", "summary", "title")

    def __init__(self, article_id: str, story_id: str, text: Text, at: float) -> None:
        self.article_id = article_id
        self.story_id = story_id
        self.title = np.array(text.title, np.uint32).tobytes()
        self.summary = np.array(text.summary, np.uint32).tobytes()
        self.flags = text.updated | text.cut << 1 | text.boilerplate << 2
        self.at = at

    def side(self) -> Side:
        title, summary = (tuple(memoryview(packed).cast("I")) for packed in (self.title, self.summary))
        return Side(Text(title, summary, bool(self.flags & 1), bool(self.flags & 2), bool(self.flags & 4)), self.at)


class Stories:
    """Groups near-duplicate articles. A function of the sequence it is fed: no clock, no I/O, no learning.

    Candidates come from MinHash bands over the words of the title, of the summary's beginning and of the whole
    summary, each bucket keeping its newest few; what is a match is decided on the words themselves (`likeness`).
    So an article costs the same however many are within the horizon, and however alike they are.

    Units:  `capacity` in articles, rounded up to a power of two: how many of the newest ones are known. The tables take
            224 bytes for each, and each that is known some 500 bytes beside it.
    Source: A. Broder, On the resemblance and containment of documents, 1997 (MinHash); P. Indyk and R. Motwani,
            Approximate nearest neighbors, 1998 (banding).
    """

    def __init__(self, horizon: timedelta = timedelta(hours=48), *, capacity: int = 1 << 17) -> None:
        if horizon <= timedelta(0):
            raise ValueError(f"the horizon of stories is {horizon}; it must be longer than nothing")
        self._horizon_s = horizon.total_seconds()
        self._capacity = capacity
        bits = max(4, (max(1, capacity // _WAYS) - 1).bit_length())
        self._bucket_shift = np.uint64(64 - bits)
        self._buckets: U64 = np.zeros((_BANDS, 1 << bits, _WAYS), np.uint64)
        random = np.random.Generator(np.random.PCG64(20260101))
        self._factors: U64 = random.integers(1, 1 << 63, _HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
        self._terms: U64 = random.integers(0, 1 << 63, _HASHES, np.uint64)
        self._mixers: U64 = random.integers(1, 1 << 63, 4, np.uint64) * np.uint64(2) + np.uint64(1)
        self._salts: U64 = random.integers(0, 1 << 63, _BANDS, np.uint64)
        self._articles: list[_Known | None] = []
        self._first = 1  # the ordinal of `_articles[0]`; 0 means an empty way
        self._oldest = 0  # the place in `_articles` of the oldest one still known
        self._by_id: dict[str, _Known] = {}
        self._now = float("-inf")

    def __len__(self) -> int:
        """How many articles are known."""
        return len(self._by_id)

    @property
    def tables_bytes(self) -> int:
        """What the bands take, full or empty."""
        return int(self._buckets.nbytes)

    def assign(self, article_id: str, title: str, summary: str, at: datetime) -> str:
        """The story of an article: that of the nearest alike one within the horizon, else its own id.

        An article that is known already keeps its story.
        """
        return self._take(article_id, title, summary, at, None)

    def remember(self, article_id: str, title: str, summary: str, at: datetime, story_id: str) -> None:
        """Takes back an article assigned before a restart.

        Fed with all articles in the order in which they were assigned, from the first that is still within the
        horizon on, a new instance goes on exactly as the old one would have.
        """
        self._take(article_id, title, summary, at, story_id)

    def _take(self, article_id: str, title: str, summary: str, at: datetime, story_id: str | None) -> str:
        seconds = at.timestamp()
        self._now = max(self._now, seconds)
        self._forget()
        known = self._by_id.get(article_id)
        if known is not None and known.at >= self._now - self._horizon_s:
            return known.story_id
        text = read(title, summary)
        keys, bands = self._keys(text)
        slots = keys >> self._bucket_shift
        tags = keys << _SHIFT
        entries = self._buckets[bands, slots]
        if story_id is None:
            found = self._nearest(Side(text, seconds), entries, tags)
            story_id = found.story_id if found else article_id
        if seconds >= self._now - self._horizon_s:
            fresh = tags | np.uint64(self._first + len(self._articles))
            self._buckets[bands, slots, 1:] = entries[:, :-1]
            self._buckets[bands, slots, 0] = fresh
            article = _Known(article_id, story_id, text, seconds)
            self._articles.append(article)
            self._by_id[article_id] = article
        return story_id

    def _nearest(self, side: Side, entries: U64, tags: U64) -> _Known | None:
        hits: dict[int, int] = {}
        alike = entries[(entries != 0) & ((entries >> _SHIFT) == (tags >> _SHIFT)[:, None])]
        for ordinal in (alike & _ORDINAL).tolist():
            hits[ordinal] = hits.get(ordinal, 0) + 1
        best, nearest = 0.0, None
        compared = 0
        for ordinal in sorted(hits, key=lambda one: (hits[one], one), reverse=True):
            place = ordinal - self._first
            candidate = self._articles[place] if place >= self._oldest else None
            if candidate is None or not self._within(candidate, side.at):
                continue
            compared += 1
            score = likeness(side, candidate.side())
            if score > best:
                best, nearest = score, candidate
            if compared == _CANDIDATES or best >= 2.0:
                break
        return nearest

    def _within(self, candidate: _Known, at: float) -> bool:
        return candidate.at >= self._now - self._horizon_s and abs(candidate.at - at) <= self._horizon_s

    def _keys(self, text: Text) -> tuple[U64, npt.NDArray[np.intp]]:
        """Where an article stands: a 64-bit key for each band of the channels that say something."""
        shingles = [_shingles(text.title)]
        if text.summary:
            shingles += [_shingles(text.summary[:HEAD]), _shingles(text.summary)]
        starts = np.cumsum([0, *(len(channel) for channel in shingles[:-1])])
        words = np.array([code for channel in shingles for code in channel], np.uint64)
        hashed = (words[:, None] * self._factors + self._terms) >> np.uint64(32)
        least = np.minimum.reduceat(hashed, starts, axis=0)
        parts = []
        for channel, row in zip(_CHANNELS, least, strict=False):
            rows = row.reshape(channel, -1)
            parts.append((rows * self._mixers[: rows.shape[1]]).sum(axis=1, dtype=np.uint64))
        keys = np.concatenate(parts)
        keys = (keys ^ (keys >> np.uint64(29)) ^ self._salts[: len(keys)]) * self._mixers[3]
        return keys ^ (keys >> np.uint64(31)), np.arange(len(keys))

    def _forget(self) -> None:
        """Lets go of what is older than the horizon, oldest first."""
        limit = self._now - self._horizon_s
        while self._oldest < len(self._articles):
            article = self._articles[self._oldest]
            fits = len(self._articles) - self._oldest <= self._capacity
            if article is not None and article.at >= limit and fits:
                break
            if article is not None and self._by_id.get(article.article_id) is article:
                del self._by_id[article.article_id]
            self._articles[self._oldest] = None
            self._oldest += 1
        if self._oldest > 1024 and self._oldest * 2 > len(self._articles):
            del self._articles[: self._oldest]
            self._first += self._oldest
            self._oldest = 0


def _shingles(codes: tuple[int, ...]) -> list[int]:
    return list({code & ~KIND for code in codes}) or [1]
