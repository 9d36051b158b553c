"""Views of a training text that mean the same: without the marks of a post, in another case, with slips of typing.

The labelled texts are posts; the articles to label are clean headlines. A model that leaned on `$AAPL -`, `(via
@wealth)` or a capital letter would fail on them, so it is shown texts with and without.
"""

import random
import re
from collections.abc import Sequence
from typing import Final

_CASHTAG_PREFIX: Final = re.compile(r"^(?:\$[A-Za-z][\w.]*[\s,:]*)+(?:[-–—:]\s*)?")
_CASHTAG: Final = re.compile(r"\$(?=[A-Za-z])([A-Za-z][\w.]*)")
_VIA: Final = re.compile(r"\s*\((?:via|by|h/t) @\w+\)|\s+(?:via|by) @\w+", re.IGNORECASE)
_HASHTAGS_AT_END: Final = re.compile(r"(?:\s*#\w+…?)+\s*$")
_MARK: Final = re.compile(r"(?<!\w)[#@](?=\w)")
_OUTLET: Final = re.compile(r"\s+[-–|]\s+(?:[A-Z][\w.&']*\s?){1,3}$")
_ELLIPSIS: Final = re.compile(r"\s*(?:\.{3}|…)\s*$")
_NEIGHBOURS: Final = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl",
    "p": "ol", "a": "qsz", "s": "awdx", "d": "sefc", "f": "drgv", "g": "fthb", "h": "gyjn", "j": "hukm", "k": "jil",
    "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip


def slip(word: str, rng: random.Random) -> str:
    """The word with one slip of typing: two letters swapped, one left out, doubled, or hit beside its key."""
    at = rng.randrange(len(word))
    kind = rng.randrange(4)
    if kind == 0 and at + 1 < len(word):
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1 and len(word) > 2:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[: at + 1] + word[at:]
    letter = word[at]
    beside = rng.choice(_NEIGHBOURS.get(letter.lower(), "e"))
    return word[:at] + (beside.upper() if letter.isupper() else beside) + word[at + 1 :]


def with_typos(text: str, share: float, rng: random.Random) -> str:
    """The text with a slip in about `share` of its words, in words of three letters or more; at least one slip."""
    words = text.split(" ")
    wordy = [at for at, word in enumerate(words) if len(word) > 2 and word.isalpha()]
    if not wordy:
        return text
    for at in rng.sample(wordy, min(len(wordy), max(1, round(share * len(words))))):
        words[at] = slip(words[at], rng)
    return " ".join(words)


def with_tickers(text: str, tickers: Sequence[str], rng: random.Random) -> str:
    """The text with every cashtag naming another stock; the same stock keeps one new name throughout."""
    renamed: dict[str, str] = {}
    return _CASHTAG.sub(lambda found: "$" + renamed.setdefault(found[1], rng.choice(tickers)), text)


def as_headline(text: str) -> str:
    """The text without the marks of a post: cashtags, hashtags at the end, credits, the outlet, dots at the end."""
    plain = _HASHTAGS_AT_END.sub("", _VIA.sub("", text))
    plain = _CASHTAG_PREFIX.sub("", _OUTLET.sub("", _ELLIPSIS.sub("", plain)))
    plain = _MARK.sub("", _CASHTAG.sub(r"\1", plain)).strip()
    return plain or text


class Augment:
    """A random view of a text; texts go in and come out normalised.

    Units: shares and chances in [0, 1]. `chance` is the chance that a text is touched at all.
    """

    def __init__(self, tickers: Sequence[str], rng: random.Random, *, chance: float = 0.8, typos: float = 0.35) -> None:
        self._tickers = tickers or ("ABC",)
        self._rng = rng
        self._chance = chance
        self._typos = typos

    def __call__(self, text: str) -> str:
        rng = self._rng
        if rng.random() >= self._chance:
            return text
        if rng.random() < 0.5:
            text = as_headline(text)
        elif rng.random() < 0.5:
            text = with_tickers(text, self._tickers, rng)
        cased = rng.random()
        if cased < 0.15:
            text = text.upper()
        elif cased < 0.25:
            text = text.lower()
        elif cased < 0.35:
            text = text.title()
        if rng.random() < 0.15 and text[-1:] not in ".!?":
            text += "."
        elif rng.random() < 0.2:
            text = text.rstrip(".!")
        if rng.random() < self._typos:
            text = with_typos(text, rng.choice((0.05, 0.1, 0.15)), rng)
        return text


def tickers_of(texts: Sequence[str]) -> list[str]:
    """Every ticker that has a cashtag in these texts, sorted."""
    return sorted({found.upper() for text in texts for found in _CASHTAG.findall(text)})
