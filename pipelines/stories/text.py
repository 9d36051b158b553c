"""An article as the clusterer sees it: which words its title and its summary have, and of what kind each is."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import Final
from zlib import crc32

from pipelines.stories import words

# The kind of a word: what it means when two texts differ in it. Kept in the lowest three bits of its code.
WORD, MAYBE, NAME, NUMBER, CALENDAR, POSITIVE, NEGATIVE, NOT = range(8)
KIND: Final = 7

_MAX_TITLE: Final = 300  # characters read of a title
_MAX_SUMMARY: Final = 700
MAX_WORDS: Final = 64  # of a summary
HEAD: Final = 14  # words of a summary that stand for its beginning: a truncated copy has them too

# Scripts without spaces are read character by character.
_UNSPACED: Final = (
    "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2e80-\\u303f\\u3041-\\u30ff\\u31f0-\\u31ff"
    "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff"
)
_NUMBER: Final = r"\d+(?:[.,]\d+)*"
_TOKEN: Final = re.compile(
    rf"[{_UNSPACED}]|{_NUMBER}(?:[a-z]{{1,3}}\b)?|[^\W\d_{_UNSPACED}]+(?:['.&][^\W_{_UNSPACED}]+|[^\W_{_UNSPACED}])*",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"</?[a-z][^<>]{0,200}>", re.IGNORECASE)
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DOTS: Final = re.compile(r"(?:\.\.\.+|…|\[…\]|\[\.\.\.\])[\s\])]*$")
_MARK: Final = re.compile(
    rf"^[\s*#>•!]*(?:[\[(【]\s*(?:{words.MARKS})(?:\s*\d{{1,2}})?\s*[\])】]\s*[-–—:|]*|(?:{words.MARKS})(?:\s*\d{{1,2}})?\s*(?:[-–—:|/]+\s*|：|!+\s*)|update\s+\d{{1,2}}\s+)",
    re.IGNORECASE,
)
_MARK_AFTER: Final = re.compile(
    rf"\s*(?:[\[(]\s*(?:{words.MARKS})(?:\s*\d{{1,2}})?\s*[\])]|\s[-–—|]\s*(?:{words.MARKS})(?:\s*\d{{1,2}})?)\s*$",
    re.IGNORECASE,
)
_TAIL: Final = re.compile(r"\s+[-–—•·]\s+|\s*\|\s*|\s+(?:by|via)\s+|\s*[(\[]\s*(?:by |via |source: )?", re.IGNORECASE)
_BEFORE: Final = re.compile(r"^(?:by\s+)?([\w .'&-]{2,30}?)\s*(?:[:|–—]|\s-)\s+", re.IGNORECASE)
_BY: Final = re.compile(r"^by ([\w' ]{2,30}?)[\s.,:-]+(?=[A-Z(])", re.IGNORECASE)
_PROPER: Final = re.compile(r"(?:[A-Z][\w'’.&]*|of|the|and)(?:\s+(?:[A-Z][\w'’.&]*|of|the|and)){0,3}")
_DOMAIN: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*\.[a-z]{2,4}", re.IGNORECASE)
_DATELINE: Final = re.compile(r"^[^()]{0,60}\(([\w .&'-]{2,24})\)\s*[-–—:.]*\s*")
_TICKER: Final = re.compile(r"[\[(<]\s*(?:[A-Z][A-Za-z]{2,9}\s*:\s*[A-Z0-9.]{1,9}|[A-Z0-9]{1,6}\.[A-Z]{1,2})\s*[\])>]")
_PLACE: Final = re.compile(r"^[A-Z][A-Z .,/'’-]{2,30}(?:,\s+\w{3,9}\.?\s+\d{1,2})?\s+[-–—]{1,2}\s+")


@dataclass(slots=True, frozen=True)
class Text:
    """Codes of the words of one article, in order.

    Shapes: a code is a 32-bit hash of the word with its kind in the lowest three bits; stop words are left out.
    `updated`: the title says that it is an update. `cut`: the title ends with an ellipsis. `boilerplate`: the summary
    speaks of the outlet, not of the news.
    """

    title: tuple[int, ...]
    summary: tuple[int, ...]
    updated: bool = False
    cut: bool = False
    boilerplate: bool = False


def read(title: str, summary: str) -> Text:
    """What an article's title and summary say, freed of marks, sources and datelines."""
    title, summary = _unmarked(title[:_MAX_TITLE]), _unmarked(summary[:_MAX_SUMMARY])
    bare, updated = _without_marks(title)
    bare, cut = _without_dots(_TICKER.sub(" ", bare))
    body, body_cut = _without_dots(_without_dateline(summary))
    lower = set(_TOKEN.findall(_plain(body)))
    lower.update(_TOKEN.findall(_plain(bare)))
    cased = _is_sentence(bare)
    codes = _codes(bare, lower, sentence=cased) or _codes(title, lower, sentence=cased, all_words=True)
    if body_cut or len(summary) >= _MAX_SUMMARY:
        body = body.rsplit(" ", 1)[0] if " " in body else body[:-1]
    said = _codes(body, lower, sentence=True)[:MAX_WORDS]
    first = bases(codes)
    if bases(said[: len(codes)]) == first:  # a summary that begins by saying the title again
        said = said[len(codes) :]
    if bases(said) <= first:
        said = ()
    folded = fold(summary)
    return Text(
        codes, said, updated, cut, bool(said) and any(phrase in folded for phrase in words.BOILERPLATE)
    )  # fmt: skip


def bases(codes: Iterable[int]) -> frozenset[int]:
    """The words without their kinds."""
    return frozenset(code & ~KIND for code in codes)


def fold(text: str) -> str:
    """Without case and accents."""
    return _unaccented(text).casefold()


def _unmarked(text: str) -> str:
    if "&" in text:
        text = unescape(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    return " ".join(text.split())


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    # Only the marks of European letters fall; in other scripts they are vowels.
    split = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFC", "".join(mark for mark in split if not "\u0300" <= mark <= "\u036f"))


def _plain(text: str) -> str:
    return _THOUSANDS.sub("", _unaccented(text).replace("’", "'").replace("‘", "'"))


def _without_dots(text: str) -> tuple[str, bool]:
    found = _DOTS.search(text[-12:])
    if not found:
        return text, False
    kept = text[: len(text[:-12]) + found.start()] if len(text) > 12 else text[: found.start()]
    # What stands right before the dots is likely half a word.
    return (kept.rsplit(" ", 1)[0] if " " in kept else kept), True


def _without_marks(title: str) -> tuple[str, bool]:
    updated = False
    for _ in range(6):
        before = title
        if mark := _MARK.match(title) or _MARK_AFTER.search(title, max(0, len(title) - 40)):
            rest = title[mark.end() :] if mark.start() == 0 else title[: mark.start()]
            if rest.strip():
                updated = updated or any(word in mark.group().casefold() for word in words.UPDATING)
                title = rest.strip()
        title = _without_source(title)
        if title == before:
            break
    return title, updated


def _without_source(title: str) -> str:
    if (found := _BEFORE.match(title)) and fold(found[1]) in words.OUTLETS:
        return title[found.end() :]
    start = max(0, len(title) - 60)
    tails = list(_TAIL.finditer(title, start))
    if not tails:
        return title
    last = tails[-1]
    head, tail, by = title[: last.start()], title[last.end() :].strip(" )]."), last.group()
    count = len(_TOKEN.findall(head))
    if not tail or count < 2:
        return title
    folded = fold(tail)
    spaced = "-" in by or "–" in by or "—" in by or "|" in by or "•" in by or "·" in by
    if folded in words.OUTLETS or (spaced and len(folded.split()) <= 5 and _DOMAIN.fullmatch(folded)):
        return head
    if not spaced or count < 4 or any(sign.isdigit() for sign in tail) or len(tail) > 45:
        return title
    if "|" in by and len(folded.split()) <= 5:
        return head
    if len(folded.split()) <= 5 and not words.OUTLET_WORDS.isdisjoint(folded.split()):
        return head
    # An unknown name at the end of a whole headline is taken for the outlet's; filings have short heads.
    filing = not words.COMPANY.isdisjoint(folded.split()) or any(sign.isdigit() for sign in head)
    return head if count >= 6 and len(tails) == 1 and not filing and _PROPER.fullmatch(tail) else title


def _without_dateline(summary: str) -> str:
    if (found := _DATELINE.match(summary)) and fold(found[1]).strip() in words.OUTLETS:
        return summary[found.end() :]
    if (found := _BY.match(summary)) and fold(found[1]) in words.OUTLETS:
        return summary[found.end() :]
    if found := _PLACE.match(summary):
        return summary[found.end() :]
    return _without_source(summary) if len(summary) > 60 else summary


def _is_sentence(title: str) -> bool:
    """Whether capitals mean names here: not in "Every Word Begins With One", nor in "ALL CAPITALS"."""
    long = [word for word in title.split() if len(word) > 3 and word[0].isalpha()]
    return sum(word[0].islower() for word in long) * 10 >= 3 * len(long)


def _codes(text: str, lower: set[str], *, sentence: bool, all_words: bool = False) -> tuple[int, ...]:
    plain = _plain(text)
    shouted = not any(map(str.islower, plain))
    codes: list[int] = []
    first = True
    for found in _TOKEN.finditer(plain):
        token = found.group()
        base = _code(token.casefold())
        start, first = first, False
        if found.start() and plain[found.start() - 2 : found.start() - 1] in ".:!?-":
            start = True
        if base < 0:
            if all_words:
                codes.append(crc32(token.casefold().encode()) & ~KIND | WORD)
            continue
        if base & KIND == WORD and not token.islower():
            if _uncased(token) or shouted:
                base |= MAYBE
            elif len(token) > 1 and token.isupper():
                base |= NAME
            elif token.casefold() in lower:
                pass  # the same text has it as a common word
            else:
                base |= NAME if sentence and not start else MAYBE
        codes.append(base)
    return tuple(codes)


def _uncased(token: str) -> bool:
    return token.lower() == token.upper()


@lru_cache(maxsize=100_000)
def _code(token: str) -> int:
    """The code of a word as far as the word alone tells; -1 for a word that says nothing."""
    token = token.removesuffix("'s").replace(".", "") if token[:1].isalpha() else token
    if token in words.STOP and token not in words.NOT:
        return -1
    if token[:1].isdigit():
        number = re.match(_NUMBER, token)
        assert number is not None  # noqa: S101  # a token that begins with a digit begins with a number
        unit = token[number.end() :]
        if token in words.CALENDAR:
            return crc32(words.SAME.get(token, token).encode()) & ~KIND | CALENDAR
        if re.fullmatch(r"(?:19|20)\d\d", token) or unit in {"st", "nd", "rd", "th"}:
            return crc32(number.group().encode()) & ~KIND | CALENDAR
        value = number.group().rstrip("0").rstrip(".") if "." in number.group() else number.group()
        return crc32(value.encode()) & ~KIND | NUMBER
    stem = _stem(token)
    kind = WORD
    for forms in (token, stem):
        if forms in words.CALENDAR:
            kind = CALENDAR
        elif forms in words.NOT:
            kind = NOT
        elif forms in words.POSITIVE:
            kind = POSITIVE
        elif forms in words.NEGATIVE:
            kind = NEGATIVE
        else:
            continue
        break
    return crc32(words.SAME.get(token, words.SAME.get(stem, stem)).encode()) & ~KIND | kind


_IRREGULAR: Final = {
    "rose": "rise", "risen": "rise", "fell": "fall", "fallen": "fall", "sank": "sink", "slid": "slide", "grew": "grow",
    "won": "win", "lost": "lose", "bought": "buy", "sold": "sell", "quits": "quit", "left": "leave", "beat": "beat",
    "losses": "loss", "slipped": "slip", "dipped": "dip", "trimmed": "trim", "dropped": "drop", "cutting": "cut",
    "rising": "rise", "sliding": "slide", "losing": "lose", "slumped": "slump", "dying": "die", "died": "die",
    "dropping": "drop", "dipping": "dip", "slipping": "slip", "closing": "close", "closed": "close", "leaving": "leave",
    "raised": "raise", "raising": "raise", "surged": "surge", "surging": "surge", "plunged": "plunge",
    "plunging": "plunge", "eased": "ease", "easing": "ease", "shares": "share", "deaths": "death", "killed": "kill",
    "tumbled": "tumble", "tumbling": "tumble", "declined": "decline", "declining": "decline", "slashed": "slash",
    "increased": "increase", "increasing": "increase", "reduced": "reduce", "reducing": "reduce",
    "advanced": "advance", "advancing": "advance", "acquired": "acquire", "acquiring": "acquire",
    "purchased": "purchase", "resigned": "resign", "resigning": "resign", "approved": "approve",
    "improved": "improve", "released": "release", "releasing": "release", "upgraded": "upgrade", "fired": "fire",
    "downgraded": "downgrade", "hired": "hire", "earnings": "earning", "begun": "begin", "began": "begin",
    "stopped": "stop", "scrapped": "scrap", "halved": "halve", "rallied": "rally", "rallies": "rally",
    "hikes": "hike", "hiked": "hike", "hiking": "hike", "acquires": "acquire",
}  # fmt: skip


def _stem(token: str) -> str:
    """An English word without its ending, roughly; other languages lose an "s"."""
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if len(token) <= 3 or not token.isascii():
        return token
    if token.endswith("ies") and len(token) > 4:
        return token[:-3] + "y"
    if token.endswith(("sses", "shes", "ches", "xes")):
        return token[:-2]
    if token.endswith("s") and not token.endswith(("ss", "us", "is")):
        return token[:-1]
    if token.endswith("ed") and len(token) > 5:
        return token[:-2]
    if token.endswith("ing") and len(token) > 6:
        return token[:-3]
    return token
