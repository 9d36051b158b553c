"""Classifier that weighs known words and phrases: needs no trained model, so it runs anywhere."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

from monitor.domain.labels import Label, Sentiment, Topic
from monitor.plugins import PluginConfig
from pipelines.classify.classifier import Classifier, ClassifierDeps
from pipelines.classify.models import _lexicon
from pipelines.classify.models._lexicon import Cue, Words

READ_CHARS: Final = 4_000  # what follows is not read: news says in its first lines what it is about

_SENTIMENTS: Final = (Sentiment.NEGATIVE, Sentiment.NEUTRAL, Sentiment.POSITIVE)
_TOPICS: Final = tuple(Topic)
_GENERAL: Final = _TOPICS.index(Topic.GENERAL)

_LINK: Final = re.compile(r"https?://\S*|[@#]\w+")
_TOKEN: Final = re.compile(
    r"[^\W\d_]+(?:'t|\.[^\W\d_]\.(?:[^\W\d_]\.)*|(?:[&/][^\W\d_]+)*\d?)"  # plain, don't, u.s., s&p, y/y, q1
    r"|\$[^\W\d_][\w.]*"  # a ticker
    r"|(?<![\w.,])[+\-−]\d[\d.,]*%"
    r"|[,;:.!?)](?=\s|$)|[-–—](?=\s)|—"
)

_DIRECTIONS: Final[Mapping[str, float]] = {"rise": 1.0, "fall": -1.0, "raise": 1.0, "cut": -1.0}
_TRANSITIVE: Final = frozenset({"raise", "cut"})
_NOUNS: Final = frozenset({"good", "burden"})
_REVERSERS: Final = frozenset({"negator", "averter", "denier"})


class Config(PluginConfig):
    """The word-list classifier has nothing to set."""

    kind: Literal["lexicon"] = "lexicon"

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:  # noqa: ARG003  it has no secret
        return cls()


class _Hit:
    """A cue found in a text. `size` is its weight alone, `weight` what it has in its clause."""

    __slots__ = ("clause", "place", "role", "size", "weight")

    def __init__(self, place: int, clause: int, cue: Cue) -> None:
        self.place, self.clause, self.role = place, clause, cue.role
        self.weight = self.size = cue.weight


class Lexicon:
    """Adds up the weights of known words and phrases, understood within their clauses.

    The first line of a text is its title, and weighs more than the rest. Case does not matter.

    Score: softmax of the summed weights; neutral, and General News | Opinion, where no word is known.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self._score = words.score

    @property
    def version(self) -> str:
        return f"lexicon-{self._words.version}"

    def label(self, texts: Sequence[str]) -> list[Label]:
        return [self._label(text) for text in texts]

    def close(self) -> None:
        """Nothing works besides the calls."""

    def _label(self, text: str) -> Label:
        # Upper case first: letters that differ only in lower case become one. It may make the text longer.
        folded = text[:READ_CHARS].upper()[:READ_CHARS].lower().replace("’", "'").strip()
        title, _, summary = folded.partition("\n")
        bad, good, topics = self._read(title)
        if summary:
            share = self._score["summary"]
            bad_below, good_below, topics_below = self._read(summary)
            bad, good = bad + share * bad_below, good + share * good_below
            topics = [above + share * below for above, below in zip(topics, topics_below, strict=True)]
        topics[_GENERAL] += self._score["general"]
        opposed = self._score["opposed"]
        sentiment = (bad - opposed * good, self._score["neutral"], good - opposed * bad)
        return Label(
            topic=dict(zip(_TOPICS, _softmax(topics, self._score["topic_sharpness"]), strict=True)),
            sentiment=dict(zip(_SENTIMENTS, _softmax(sentiment, self._score["sharpness"]), strict=True)),
            model_version=self.version,
        )

    def _read(self, text: str) -> tuple[float, float, list[float]]:
        """The weights of bad news, of good news and of each topic in a part of a text."""
        skip, known = self._words.skip, self._words.topics
        tokens = [
            token if token[0].isalpha() else _plain(token)
            for token in _TOKEN.findall(_LINK.sub(" ", text))
            if token not in skip
        ]
        topics = [0.0] * len(_TOPICS)
        for place in [place for place, token in enumerate(tokens) if token in known]:
            for index, weight in _lexicon.longest(tokens, place, known)[0] or ():
                topics[index] += weight
        bad = good = 0.0
        for hit in self._understand(tokens):
            if hit.weight < 0:
                bad -= hit.weight
            else:
                good += hit.weight
        cap = self._score["cap"]
        return _capped(bad, cap), _capped(good, cap), [_capped(weight, cap) for weight in topics]

    def _hits(self, tokens: list[str]) -> list[_Hit]:
        hits: list[_Hit] = []
        known = self._words.cues
        end = clause = 0
        for place in [place for place, token in enumerate(tokens) if token in known]:
            if place < end:
                continue
            cue, end = _lexicon.longest(tokens, place, known)
            if cue is None:
                continue
            if cue.role in ("boundary", "conceder"):
                clause += 1
            if cue.role != "boundary" and (cue.role != "polarity" or cue.weight):
                hits.append(_Hit(place, clause, cue))
        return hits

    def _understand(self, tokens: list[str]) -> list[_Hit]:
        """The cues of a text, with the weights they have in their clauses."""
        hits = self._hits(tokens)
        for at, hit in enumerate(hits):
            if hit.role in _DIRECTIONS:
                _direct(hit, self._near(hits, at, -1), self._near(hits, at, 1))
        for at, hit in enumerate(hits):
            if hit.role == "less":
                self._lessen(hit, self._near(hits, at, -1) + self._near(hits, at, 1))
        for at in range(len(hits) - 1, -1, -1):  # from the right, so that "fails to avert a default" nests
            if hits[at].role in _REVERSERS:
                self._reverse(hits[at], self._near(hits, at, -1), self._near(hits, at, 1))
        conceded = {hit.clause for hit in hits if hit.role == "conceder"}
        asked = self._score["asked"] if "?" in tokens else 1.0
        for hit in hits:
            hit.weight *= asked * (self._score["conceded"] if hit.clause in conceded else 1.0)
        return hits

    def _near(self, hits: list[_Hit], at: int, step: int) -> list[_Hit]:
        """The hits on one side of `hits[at]` in its clause and scope, nearest first."""
        origin, scope, near = hits[at], self._score["scope"], []
        index = at + step
        while 0 <= index < len(hits):
            other = hits[index]
            if other.clause != origin.clause or abs(other.place - origin.place) > scope:
                break
            near.append(other)
            index += step
        return near

    def _lessen(self, hit: _Hit, near: list[_Hit]) -> None:
        """A "less than expected" turns a direction round; a smaller loss is good news."""
        hit.weight = 0.0
        directions = [other for other in near if other.role in _DIRECTIONS]
        for other in directions:
            other.weight *= self._score["negated"]
        noun = next((other for other in near if other.role in _NOUNS), None)
        if not directions and noun is not None:
            hit.weight = -hit.size if noun.role == "good" else hit.size
            noun.weight = 0.0

    def _reverse(self, hit: _Hit, before: list[_Hit], after: list[_Hit]) -> None:
        """A negator acts on all that follows; averting and denying act on bad news, on either side."""
        if hit.role == "negator":
            for other in after:
                if other.weight > 0:
                    other.weight *= self._score["negated"]
                elif not hit.size:  # "fails to" leaves bad news bad
                    other.weight *= self._score["relieved"]
            return
        hit.weight = 0.0
        kept = self._score["averted" if hit.role == "averter" else "denied"]
        ahead = [other for other in after if other.weight < 0]
        for other in ahead or [other for other in before if other.weight < 0]:
            other.weight *= kept
            hit.weight = hit.size


def _direct(hit: _Hit, before: list[_Hit], after: list[_Hit]) -> None:
    """A direction with the noun it goes with: rising profits are good news, rising unemployment is bad."""
    sign = _DIRECTIONS[hit.role]
    if hit.role in _TRANSITIVE:  # its object; before it only in "target raised", not in "bank in trouble raises"
        nouns = after + [other for other in before if hit.place - other.place <= 2]
    else:
        nouns = before + after
    noun = next((other for other in nouns if other.role in _NOUNS), None)
    if noun is None:
        hit.weight = 0.0 if hit.role in _TRANSITIVE else sign * hit.size
        return
    size = max(hit.size, 1.2)
    hit.weight = sign * size if noun.role == "good" else -sign * size
    if noun.role == "burden" and sign < 0:
        noun.weight = 0.0


def _plain(token: str) -> str:
    """Tickers all read `$`, and signed percentages `+%` or `-%`."""
    if token[0] == "$":
        return token[0]
    if token[-1] == "%":
        return "+%" if token[0] == "+" else "-%"
    return token


def _capped(weight: float, cap: float) -> float:
    return cap * weight / (cap + weight)


def _softmax(weights: Sequence[float], sharpness: float) -> list[float]:
    top = max(weights)
    powers = [math.exp(sharpness * (weight - top)) for weight in weights]
    total = sum(powers)
    return [power / total for power in powers]


def build(config: Config, deps: ClassifierDeps) -> Classifier:  # noqa: ARG001  it has nothing to set, and needs nothing
    """The classifier with the shipped words."""
    return Lexicon(_lexicon.read())
