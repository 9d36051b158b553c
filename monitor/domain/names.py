"""The proper names in a text: of companies, banks, countries, people."""

import re
import unicodedata
from collections.abc import Iterator

MAX_NAMES = 8
"""Names taken of one article, the first ones."""

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W_](?:[\w&'’.-]*[^\W_])?|[.:;!?—–|,()/“”\"]")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]?")
_SENTENCE_ENDS = frozenset(".:;!?—–|")
_JOINS = frozenset({"of", "de", "du", "la", "der", "von", "van"})
# Legal forms say nothing of who it is, and are as often left out.
_FORMS = "inc corp co company plc ltd llc lp ag sa nv se spa gmbh group holding holdings corporation incorporated"
_TITLES = "mr mrs ms dr sir president prime minister chief executive ceo cfo chairman chair secretary"
# Capitals that name nobody: the calendar, and what headlines begin with.
_NOBODY = """
    monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun
    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec q1 q2 q3 q4 h1 h2 fy
    i a an the this that these those it its he she they we you his her their our your my and or but if so as at by for
    from in into of on to up with after before over under about how why what when where who which will would can could
    should might is are was were be been has have had do does did not no more most here there now then also just only
    shares stocks bonds futures update refile corrected rpt breaking exclusive live watch video podcast opinion analysis
    factbox timeline explainer
"""
_FORM_WORDS, _TITLE_WORDS, _NOBODY_WORDS = (frozenset(words.split()) for words in (_FORMS, _TITLES, _NOBODY))
_LONG = 5


def names(title: str, summary: str = "") -> list[str]:
    """The names that a title and its summary mention, each once, in the order of their first mention.

    A name is a run of capitalised words inside a sentence, without possessive, legal form and what stands in front of
    people. The first word of a sentence is capitalised anyway, so it belongs to a name only where another capitalised
    word follows or the same word stands elsewhere inside a sentence. Headlines That Capitalise Every Word tell nothing:
    of these only what the summary names, and words all of capitals, count.
    Languages that do not tell names by capitals have none, or, like German, too many.
    """
    plain: list[list[str]] = []
    in_title_case: list[list[str]] = []
    for text in (title, summary):
        sentences = list(_sentences(text))
        (in_title_case if _is_title_case(sentences) else plain).extend(sentences)
    inside = {word for sentence in plain for word in sentence[1:] if _is_capitalised(word)}
    found: dict[str, None] = {}
    for sentence in plain:
        for run in _runs(sentence, inside):
            found.setdefault(run)
    known = {name.casefold() for name in found}
    for sentence in in_title_case:
        for name in _in_capitals(sentence, known):
            found.setdefault(name)
    return list(found)[:MAX_NAMES]


def as_named(given: str) -> str:
    """A name that somebody types, in the form in which `names` finds it: Vexley Holdings plc is Vexley.

    As it is, where it is no name of capitals alone, or more than one: nothing but what texts leave out is taken away.
    """
    sentences = list(_sentences(given))
    words = [word for sentence in sentences for word in sentence]
    known = _JOINS | _FORM_WORDS | {","}
    if not all(_is_capitalised(word) or word.isdigit() or word in known for word in words):
        return given
    found = [name for sentence in sentences for name in _runs(sentence, set(words))]
    meant = [name for name in found if name.casefold() not in _FORM_WORDS]
    return meant[0] if len(meant) == 1 else given


def _sentences(text: str) -> Iterator[list[str]]:
    sentence: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        if word in _SENTENCE_ENDS:
            if sentence:
                yield sentence
            sentence = []
        else:
            sentence.append(_bare(word))
    if sentence:
        yield sentence


def _bare(word: str) -> str:
    # Hardly any word has either, and most of the time is spent on words.
    if "'" in word or "’" in word:
        word = re.sub(r"(?:['’]s|['’])$", "", word)
    return word.replace(".", "") if "." in word and _INITIALS.fullmatch(word) else word


def _is_capitalised(word: str) -> bool:
    return word[:1].isupper() and not word.isdigit()


def _is_title_case(sentences: list[list[str]]) -> bool:
    """Whether it is without the long words in small letters that any sentence has."""
    long = [word for sentence in sentences for word in sentence[1:] if len(word) >= _LONG]
    return len(long) > 1 and all(map(_is_capitalised, long))


def _runs(sentence: list[str], inside: set[str]) -> Iterator[str]:
    start = 0
    while start < len(sentence):
        end = start
        while end < len(sentence) and (_is_capitalised(sentence[end]) or (end > start and _joins(sentence, end))):
            end += 1
        if end > start:
            for part, begins in _parts(sentence[start:end], begins=start == 0):
                if name := _named(part, begins=begins, inside=inside):
                    yield name
        start = max(end, start + 1)


def _joins(sentence: list[str], place: int) -> bool:
    """Whether the word there holds two halves of a name together, as in Bank of England."""
    return sentence[place] in _JOINS and place + 1 < len(sentence) and _is_capitalised(sentence[place + 1])


def _parts(run: list[str], *, begins: bool) -> Iterator[tuple[list[str], bool]]:
    """The run without what stands in front of people: of "US President Ann Smith" a country and a person."""
    part: list[str] = []
    for word in run:
        if word.casefold() in _TITLE_WORDS:
            if part:
                yield part, begins
            part, begins = [], False
        else:
            part.append(word)
    if part:
        yield part, begins


def _named(run: list[str], *, begins: bool, inside: set[str]) -> str | None:
    words = list(run)
    if begins and len(words) == 1 and words[0] not in inside and not words[0].isupper():
        return None
    while words and words[0].casefold() in _NOBODY_WORDS:
        words = words[1:]
    while words and (
        words[-1].casefold() in _NOBODY_WORDS | _JOINS or (len(words) > 1 and words[-1].casefold() in _FORM_WORDS)
    ):
        words = words[:-1]
    name = " ".join(words)
    return name if len(name) > 1 and not name.replace(" ", "").isdigit() else None


def _in_capitals(sentence: list[str], known: set[str]) -> Iterator[str]:
    for word in sentence:
        if len(word) > 2 and word.isupper() and word.casefold() not in _NOBODY_WORDS | known and not word.isdigit():
            yield word
