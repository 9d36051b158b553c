"""Whether two articles tell the same story: what differs between them matters more than what they share."""

from typing import Final
from zlib import crc32

from pipelines.stories.text import CALENDAR, KIND, MAYBE, NAME, NEGATIVE, NOT, NUMBER, POSITIVE, Text
from pipelines.stories.words import RECURRING, SAME

# Beyond this a headline that comes again word for word may be the next day's.
DAY_S: Final = 16 * 3600.0
_UPDATE_S: Final = 12 * 3600.0  # a figure that moves inside one story moves within hours
_RECURRING: Final = frozenset(crc32(SAME.get(word, word).encode()) & ~KIND for word in RECURRING)
_LONG: Final = 14  # words that no slogan has
_BODY: Final = 7  # words that make a summary long enough to tell a story by itself


class Side:
    """One article, laid out for comparing.

    Shapes: `title` and `summary` map each word to its kind.
    """

    __slots__ = ("at", "summary", "text", "title", "words")

    def __init__(self, text: Text, at: float) -> None:
        self.text = text
        self.at = at
        self.title = {code & ~KIND: code & KIND for code in text.title}
        self.summary = {code & ~KIND: code & KIND for code in text.summary}
        self.words = self.title.keys() | self.summary.keys()


def likeness(a: Side, b: Side) -> float:
    """How surely `a` and `b` tell one story: 0.0 for different ones, up to 2.0 for the same words throughout."""
    only_a, only_b = a.title.keys() - b.title.keys(), b.title.keys() - a.title.keys()
    common = len(a.title) - len(only_a)
    titles = common / (common + len(only_a) + len(only_b)) if a.title or b.title else 0.0
    short = min(len(a.summary), len(b.summary))
    both_say = short > 0
    bodies = _bodies(a, b) if both_say else 0.0
    gap = abs(a.at - b.at)
    if a.text.title == b.text.title and a.text.summary == b.text.summary and gap <= DAY_S:
        return 2.0
    updating = (a.text.updated or b.text.updated) and gap <= _UPDATE_S
    body_tells = both_say and not a.text.boilerplate and short >= _BODY
    moved = updating or (
        common >= 5
        and gap <= _UPDATE_S
        and not _recurs(a)
        and (titles == 1.0 or (body_tells and bodies >= 0.9 and _one_figure(a, b, only_a, only_b)))
    )
    if body_tells and not moved and _figures_conflict(a, b):
        return 0.0
    retitled = body_tells and bodies >= 0.8 and titles < 0.3
    if not retitled and _opposed(a, b, only_a, only_b):
        return 0.0
    if not moved and _figures_differ(a, b, only_a, only_b):
        return 0.0
    if _others_named(a, b, only_a, only_b, lenient=retitled):
        return 0.0
    if titles == 1.0:
        same = _same_headline(a, b, common, gap, bodies)
    elif gap > DAY_S and (_recurs(a) or _recurs(b)):
        same = body_tells and bodies >= 0.9 and _anchored(a, b, titles)
    elif body_tells and bodies >= (0.75 if short >= _LONG else 0.9) and _anchored(a, b, titles):
        same = True
    elif body_tells:
        # Each title with news of which the other article knows nothing: two developments, however alike the background.
        same = bodies >= 0.45 and titles >= 0.4 and (only_a <= b.words or only_b <= a.words)
    else:
        same = _same_words(a, b, only_a, only_b, titles, gap)
    return titles + bodies if same else 0.0


def _bodies(a: Side, b: Side) -> float:
    """How much of the shorter summary is in the longer one; of both together, where it is too short to be a summary."""
    common = len(a.summary.keys() & b.summary.keys())
    short = min(len(a.summary), len(b.summary))
    return common / short if short >= _BODY else common / (len(a.summary) + len(b.summary) - common)


def _recurs(a: Side) -> bool:
    known = sum(word in _RECURRING for word in a.title)
    return len(a.title) <= 4 or known >= 2 or (known >= 1 and len(a.title) <= 6)


def _same_headline(a: Side, b: Side, common: int, gap: float, bodies: float) -> bool:
    """The same words as a title: a copy, or the next one of a series."""
    short = min(len(a.summary), len(b.summary))
    if bodies < 0.3 and ((short >= 4 and (common < 5 or _recurs(a))) or (short and common < 3)):
        return False
    if gap <= DAY_S or not _recurs(a):
        return True
    return short >= (12 if len(a.title) > 4 else 6) and bodies >= 0.9 and not a.text.boilerplate


def _same_words(a: Side, b: Side, only_a: set[int], only_b: set[int], titles: float, gap: float) -> bool:
    """Titles alone, where a summary is missing or says nothing."""
    if gap > DAY_S and (_recurs(a) or _recurs(b)):
        return False
    short = min(len(a.title), len(b.title))
    if (not only_a and a.text.cut and short >= 4) or (not only_b and b.text.cut and short >= 4):
        return True
    serial = _recurs(a) or _recurs(b)
    kinds = {a.title[word] for word in only_a} | {b.title[word] for word in only_b}
    named = not kinds.isdisjoint((NAME, MAYBE, NUMBER, CALENDAR))
    if serial and (named or (only_a and only_b and not _RECURRING.isdisjoint(only_a ^ only_b))):
        return False
    if only_a and only_b:
        return short >= 5 and titles >= (0.8 if serial else 0.6)
    return short >= 4 and titles >= (0.75 if named else 0.6)


def _opposed(a: Side, b: Side, only_a: set[int], only_b: set[int]) -> bool:
    kinds_a, kinds_b = {a.title[word] for word in only_a}, {b.title[word] for word in only_b}
    if (POSITIVE in kinds_a and NEGATIVE in kinds_b) or (NEGATIVE in kinds_a and POSITIVE in kinds_b):
        return True
    if NOT in kinds_a and not any(kind == NOT for kind in b.title.values()):
        return not _in_summary(a, b, only_a, NOT)
    if NOT in kinds_b and not any(kind == NOT for kind in a.title.values()):
        return not _in_summary(b, a, only_b, NOT)
    return False


def _in_summary(a: Side, b: Side, only: set[int], kind: int) -> bool:
    return all(word in b.summary or word in a.summary for word in only if a.title[word] == kind) and bool(b.summary)


def _figures_differ(a: Side, b: Side, only_a: set[int], only_b: set[int]) -> bool:
    for kind in (NUMBER, CALENDAR):
        mine = {word for word in only_a if a.title[word] == kind and word not in b.summary}
        theirs = {word for word in only_b if b.title[word] == kind and word not in a.summary}
        if mine and theirs:
            return True
    return False


def _one_figure(a: Side, b: Side, only_a: set[int], only_b: set[int]) -> bool:
    """Whether the titles differ in one number and nothing else: a toll or a fall that has grown."""
    return [a.title[word] for word in only_a] == [NUMBER] and [b.title[word] for word in only_b] == [NUMBER]


def _figures_conflict(a: Side, b: Side) -> bool:
    """Whether the summaries give other figures or dates for the same thing."""
    for kind in (NUMBER, CALENDAR):
        mine = {word for word, its in a.summary.items() if its == kind}
        theirs = {word for word, its in b.summary.items() if its == kind}
        if mine - b.words and theirs - a.words:
            return True
    return False


def _others_named(a: Side, b: Side, only_a: set[int], only_b: set[int], *, lenient: bool) -> bool:
    """Whether each speaks of somebody of whom the other says nothing."""
    mine, theirs = _strange(a, b, only_a), _strange(b, a, only_b)
    if not mine or not theirs:
        return False
    if not mine.isdisjoint(a.summary) and not theirs.isdisjoint(b.summary):
        return True
    return not lenient or (
        any(a.title[word] == NAME for word in mine) and any(b.title[word] == NAME for word in theirs)
    )


def _strange(a: Side, b: Side, only: set[int]) -> set[int]:
    """The names in a's title that b never mentions."""
    return {word for word in only if a.title[word] in (NAME, MAYBE) and word not in b.words}


def _anchored(a: Side, b: Side, titles: float) -> bool:
    """Whether the titles speak of what the shared summary says, so that it is no slogan or caption."""
    if titles >= 0.3:
        return True
    shared = a.summary.keys() & b.summary.keys()
    mine, theirs = len(a.title.keys() & shared), len(b.title.keys() & shared)
    if len(shared) >= _LONG:
        return mine + theirs >= 2
    return mine >= min(2, len(a.title)) and theirs >= min(2, len(b.title))
