"""What a model reads of a text: the one normalisation that training, evaluation and the daemon share."""

import html
import re
import unicodedata
from typing import Final

READ_CHARS: Final = 4_000  # no encoder here reads further; cutting first keeps a megabyte of text as cheap as a page

_LINK: Final = re.compile(r"(?:https?://|www\.|pic\.twitter\.com/)\S*", re.IGNORECASE)
_RETWEET: Final = re.compile(r"^\s*RT @\w+:?\s*", re.IGNORECASE)
_LINES: Final = re.compile(r"\s*[\r\n\u2028\u2029]+\s*")
_UNPRINTABLE: Final = {"Cc": " ", "Cs": " ", "Co": " ", "Cn": " ", "Cf": ""}  # Cf: soft hyphens and the like
_STOPS: Final = frozenset(".,;:!?…)\"'”’-–—")


def normalise(text: str) -> str:
    """One line of plain text without links, entities, control characters or runs of white space.

    Lines become sentences, so that a title and its summary stay two. May be empty. Idempotent on plain text.
    """
    plain = html.unescape(html.unescape(text[:READ_CHARS]))
    plain = _RETWEET.sub("", _LINK.sub(" ", unicodedata.normalize("NFKC", plain)[:READ_CHARS]))
    lines = [line.strip() for line in _LINES.split(plain)]
    joined = " ".join(line if line[-1] in _STOPS else f"{line}." for line in lines[:-1] if line)
    joined = f"{joined} {lines[-1]}" if joined else lines[-1]
    return " ".join("".join(_UNPRINTABLE.get(unicodedata.category(c), c) for c in joined).split())
