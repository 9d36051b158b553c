"""The lexicon as the classifier reads it: the entries of _lexicon.toml, written out and arranged as tries."""

import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, Final, NamedTuple, TypeVar

from monitor.domain.labels import Topic
from monitor.errors import InvariantError

CLAUSE_MARKS: Final = frozenset(",;:.!?)-–—")

Trie = dict[str, Any]  # words to further tries; under END, what the entry that ends there says
Said = TypeVar("Said")

END: Final = ""  # no token is empty
_SEPARATOR: Final = re.compile(r"\s*,\s*")


class Cue(NamedTuple):
    """What an entry says of sentiment. `role` is the table it stands in: polarity, rise, negator, ..."""

    role: str
    weight: float


class Words(NamedTuple):
    """The lexicon. `topics` holds, for each entry, pairs of a topic's place in `Topic` and a weight."""

    version: str
    skip: frozenset[str]
    score: Mapping[str, float]
    cues: Trie
    topics: Trie


def read() -> Words:
    """The shipped lexicon; its version is a hash of its contents.

    Raises: InvariantError, if it contradicts itself.
    """
    content = resources.files(__package__).joinpath("_lexicon.toml").read_bytes()
    return parse(content)


def parse(content: bytes) -> Words:
    """The lexicon in `content`, written as _lexicon.toml explains.

    Raises: InvariantError, if it contradicts itself.
    """
    tables = tomllib.loads(content.decode())
    skip = frozenset(_split(tables["skip"]))
    entries = _Entries(tables["words"], skip)
    return Words(
        version=hashlib.sha256(content).hexdigest()[:8],
        skip=skip,
        score=tables["score"],
        cues=_cues(entries, tables["sentiment"]),
        topics=_topics(entries, tables["topics"]),
    )


def longest(tokens: list[str], place: int, trie: Trie) -> tuple[Any, int]:
    """What the longest entry that begins at `place` says, and where it ends; None where none begins there."""
    said, end = None, place + 1
    node: Trie | None = trie.get(tokens[place])
    at = place
    while node is not None:
        at += 1
        if END in node:
            said, end = node[END], at
        node = node.get(tokens[at]) if at < len(tokens) else None
    return said, end


def _cues(entries: "_Entries", roles: Mapping[str, Mapping[str, str]]) -> Trie:
    trie: Trie = {mark: {END: Cue("boundary", 0.0)} for mark in CLAUSE_MARKS}
    for role, groups in roles.items():
        for weight, words in groups.items():
            cue = Cue(role, float(weight))
            for phrase in entries.expand(words):
                other = _insert(trie, phrase, cue)
                if other != cue:
                    raise InvariantError(f"lexicon: {' '.join(phrase)!r} is {cue} and {other}")
    return trie


def _topics(entries: "_Entries", topics: Mapping[str, Mapping[str, str]]) -> Trie:
    order = list(Topic)
    weights: dict[tuple[str, ...], dict[int, float]] = {}
    for name, groups in topics.items():
        index = order.index(Topic(name))
        for weight, words in groups.items():
            for phrase in entries.expand(words):
                said = weights.setdefault(phrase, {})
                said[index] = max(float(weight), said.get(index, 0.0))
    trie: Trie = {}
    for phrase, said in weights.items():
        _insert(trie, phrase, tuple(said.items()))
    return trie


def _insert(trie: Trie, phrase: tuple[str, ...], said: Said) -> Said:
    """What the trie now says of the phrase: `said`, unless it said something before."""
    for word in phrase:
        trie = trie.setdefault(word, {})
    kept: Said = trie.setdefault(END, said)
    return kept


class _Entries:
    """Writes out the short forms of entries: inflections and names of lists."""

    def __init__(self, lists: Mapping[str, str], skip: frozenset[str]) -> None:
        self._lists = lists
        self._skip = skip

    def expand(self, entries: str) -> Iterator[tuple[str, ...]]:
        """The phrases of comma-separated entries."""
        for entry in _split(entries):
            for words in itertools.product(*(self._forms(word) for word in entry.split())):
                phrase = tuple(itertools.chain(*words))
                if not phrase or not self._skip.isdisjoint(phrase):
                    raise InvariantError(f"lexicon: texts are never seen with all words of {entry!r}")
                yield phrase

    def _forms(self, word: str) -> list[tuple[str, ...]]:
        if word.startswith("{"):
            return list(self.expand(self._lists[word.strip("{}")]))
        return [(form,) for form in _inflections(word)]


def _inflections(word: str) -> Iterable[str]:
    """The forms of a regular verb or noun marked by one tilde, or two where the last consonant doubles."""
    stem = word.rstrip("~")
    if stem == word:
        return (word,)
    if stem.endswith("y") and stem[-2] not in "aeiou":
        return (stem, f"{stem[:-1]}ies", f"{stem[:-1]}ied", f"{stem}ing")
    plural = f"{stem}es" if stem.endswith(("s", "x", "z", "ch", "sh")) else f"{stem}s"
    if stem.endswith("ie"):
        return (stem, plural, f"{stem}d", f"{stem[:-2]}ying")
    if stem.endswith("ee"):
        return (stem, plural, f"{stem}d", f"{stem}ing")
    if stem.endswith("e"):
        return (stem, plural, f"{stem}d", f"{stem[:-1]}ing")
    doubled = stem + stem[-1] if word.endswith("~~") else stem
    return (stem, plural, f"{doubled}ed", f"{doubled}ing")


def _split(entries: str) -> list[str]:
    return _SEPARATOR.split(entries.strip().strip(","))
