"""Slips of typing, put right before a model reads: it knows words by their pieces, and a slip makes others."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from spellchecker import SpellChecker

from monitor.errors import ModelError

FILE: Final = "words.json"
"""The words that a model learnt from, each with how often, beside its weights."""

_LEAST: Final = 5  # letters, and times that a model has met a word: a shorter or rarer one is guessed too easily
_KNOWN: Final = 2
_CACHED: Final = 65_536
_ANY_WORD: Final = re.compile(r"[A-Za-z]+")
# Not a part of a name, an address, a number, a cashtag or a compound.
_WORD: Final = re.compile(r"(?<![\w$#@.&'’-])[A-Za-z]{5,}(?![\w@&'’-]|\.\w)")


def count_words(texts: Iterable[str]) -> dict[str, int]:
    """The words of these texts in lower case with their numbers, those met once left out; for `FILE`."""
    counts = Counter(word.lower() for text in texts for word in _ANY_WORD.findall(text))
    return {word: count for word, count in sorted(counts.items()) if count >= _KNOWN and len(word) >= _LEAST - 1}


class Speller:
    """Replaces a word that nobody knows by the English word that the model knows best, if one slip lies between them.

    Known is what the model has learnt from and what is in an English dictionary: 160,000 words, of package
    pyspellchecker. A slip is a letter left out, put in or replaced, or two swapped.

    Source: P. Norvig, How to Write a Spelling Corrector, 2007.
    """

    def __init__(self, learnt: Mapping[str, int]) -> None:
        self._dictionary = SpellChecker(language="en", distance=1)
        # Not the names among them: a name that is like another name is no slip.
        self._learnt = {word: count for word, count in learnt.items() if count >= _LEAST and word in self._dictionary}
        self._dictionary.word_frequency.load_words(learnt)
        self._meant = lru_cache(_CACHED)(self._look_up)

    @classmethod
    def of(cls, folder: Path) -> "Speller | None":
        """That of a model folder; None if the model takes texts as they are typed.

        Raises: ModelError
        """
        path = folder / FILE
        if not path.is_file():
            return None
        return cls(read_words(path))

    def __call__(self, text: str) -> str:
        """The text with slips put right; as many words as before, in the same case. Idempotent."""
        return _WORD.sub(lambda found: self._mended(found[0]), text)

    def _mended(self, word: str) -> str:
        if not (word.islower() or word.isupper() or word.istitle()):
            return word  # a name, spelled with care
        meant = self._meant(word.lower())
        if meant is None:
            return word
        return meant.upper() if word.isupper() else meant.title() if word.istitle() else meant

    def _look_up(self, word: str) -> str | None:
        if word in self._dictionary:
            return None
        near = [other for other in self._dictionary.edit_distance_1(word) if other in self._learnt]
        return max(near, key=lambda other: (self._learnt[other], other), default=None)


def read_words(path: Path) -> dict[str, int]:
    """Raises: ModelError, if that is no file of words."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict) or not all(_is_entry(word, count) for word, count in found.items()):
        raise ModelError(f"{path}: expected an object of words in lower case with their counts")
    return found


def _is_entry(word: str, count: object) -> bool:
    return word.isalpha() and word.islower() and type(count) is int and count > 0


def write_words(folder: Path, texts: Iterable[str]) -> None:
    """Writes `FILE` for a model that learnt from these texts."""
    (folder / FILE).write_text(json.dumps(count_words(texts), separators=(",", ":")) + "\n", encoding="utf-8")
