"""From a source's entry to an article: clean text, a plausible time, an identity."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import dateutil.parser
from w3lib.html import remove_tags, replace_entities
from w3lib.url import canonicalize_url, url_query_cleaner

from monitor.domain.article import Article
from monitor.domain.record import fingerprint
from monitor.errors import Reason, RecordError
from pipelines.ingest.language import detect
from pipelines.ingest.source import Entry

_MAX_TITLE = 500
_MAX_SUMMARY = 4000
_MAX_SOURCE = 200
# A tag soup of megabytes is cut before it is cleaned, generously, since tags outweigh text.
_MAX_MARKUP = 40_000
_MARKUP = re.compile(r"[<&]")
_BREAKS = re.compile(r"</?(?:p|br|div|li|tr|td|h[1-6])\b[^<>]*>", re.IGNORECASE)
_ELEMENTS = [
    (re.compile(rf"<{name}\b.*?</{name}\b[^<>]*>?", re.I | re.S), re.compile(rf"</{name}\b[^<>]*>?", re.I))
    for name in ("script", "style")
]
_MAIL_TIME = re.compile(
    r"(?:\w{3},\s*)?\d{1,2}[\s-]+\w{3}[\s-]+\d{2,4}\s+[\d:]+(?:\s*[+-]\d{4}|\s+[A-Z]{1,5})?(?:\s*\(.*)?"
)
_TRACKING = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "utm_id",
    "fbclid",
    "gclid",
    "cmpid",
]
_REPOST = re.compile(r"^(?:update\s*\d*|refile|corrected|rpt|repeat|breaking|exclusive)\s*[-:]\s*", re.IGNORECASE)
_NOT_WORD = re.compile(r"[\W_]+")
# The zones of RFC 5322, 4.3; other abbreviations mean several zones each.
_ZONES_S = {
    name: -3600 * west
    for west, names in {0: "UT GMT", 4: "EDT", 5: "EST CDT", 6: "CST MDT", 7: "MST PDT", 8: "PST"}.items()
    for name in names.split()
}
# What a text does not say of its date is not taken from today's: a date without a year is not plausible.
_UNSAID = datetime(1, 1, 1)  # noqa: DTZ001  # the text's own zone, or UTC, is put in its place


class Plausibility:
    """Which publishers' times are believed.

    Units: both times relative to the fetch; see IngestSettings.
    """

    def __init__(self, max_age: timedelta, future_tolerance: timedelta) -> None:
        self.max_age = max_age
        self.future_tolerance = future_tolerance

    def event_time(
        self, published: datetime | None, fetched_at: datetime
    ) -> tuple[datetime, Literal["publisher", "fetch"]]:
        """The publisher's time, if plausible, else the fetch time; and which of them."""
        if published is None or not -self.future_tolerance <= fetched_at - published <= self.max_age:
            return fetched_at, "fetch"
        return published, "publisher"


def article(
    entry: Entry, *, source: str, fetched_at: datetime, plausibility: Plausibility, distrusted: Collection[str] = ()
) -> Article:
    """The article an entry makes. `distrusted`: guids and links that do not identify, see `ambiguous`.

    Raises: RecordError, if there is neither a title nor a summary, or no source.
    """
    source = one_line(source)[:_MAX_SOURCE]
    if not source:
        raise RecordError(Reason.INVALID, "the name of its source is empty")
    title, summary = plain_text(entry.title, _MAX_TITLE), plain_text(entry.summary, _MAX_SUMMARY)
    if not title:  # microblogs and link feeds have none
        title, summary = (summary[:_MAX_TITLE], "" if len(summary) <= _MAX_TITLE else summary)
    if not title:
        raise RecordError(Reason.NO_TEXT, "neither title nor summary")
    if summary == title:
        summary = ""
    published_at, basis = plausibility.event_time(parse_time(entry.published), fetched_at)
    url = web_address(entry.url)
    guid = one_line(entry.guid)[:2000] if entry.guid else None
    return Article(
        id=identity(
            source,
            None if entry.guid in distrusted else guid,
            None if entry.url in distrusted else url,
            title,
            summary,
        ),
        story_id=fingerprint("story", story_text(title) or title),
        source=source,
        guid=guid or None,
        url=url,
        title=title,
        summary=summary,
        language=detect(f"{title}. {summary}", entry.language),
        declared_language=one_line(entry.language)[:35] if entry.language else None,
        published_at=published_at,
        time_basis=basis,
        fetched_at=fetched_at,
    )


def identity(source: str, guid: str | None, url: str | None, title: str, summary: str) -> str:
    """What makes an article the same article: source and guid, else canonical URL, else title and body."""
    if guid:
        return fingerprint("guid", source, guid)
    if url:
        return fingerprint("url", canonical(url))
    return fingerprint("text", title, summary)


def ambiguous(entries: Sequence[Entry]) -> set[str]:
    """Guids, and links of entries without guids, that different entries of one document share.

    What stands for many things identifies none of them: there are feeds with one guid for all, and lists of notices
    that lead to one page. Once known, it must stay so for that feed, or identities would depend on the neighbours.
    """
    guids = Counter(guid for guid, _, _ in {(entry.guid, entry.url, entry.title) for entry in entries} if guid)
    links = Counter(url for url, _ in {(entry.url, entry.title) for entry in entries if not entry.guid} if url)
    return {name for times in (guids, links) for name, count in times.items() if count > 1}


def story_text(title: str) -> str:
    """The title as it is compared between outlets: without case, punctuation, accents and repost marks."""
    folded = unicodedata.normalize("NFKD", _REPOST.sub("", title)).casefold()
    return _NOT_WORD.sub(" ", "".join(c for c in folded if not unicodedata.combining(c))).strip()


def canonical(url: str) -> str:
    """The URL without what only tracks readers; equal for links that lead to the same page.

    Fragments stay: some sites tell their items apart by nothing else.
    """
    try:
        cleaned = url_query_cleaner(url, _TRACKING, remove=True, unique=False, keep_fragments=True)
        return str(canonicalize_url(cleaned, keep_fragments=True))
    except ValueError:
        return url


def web_address(url: str | None) -> str | None:
    """The URL if it is one a reader may follow, else None."""
    address = one_line(url or "")
    return address[:2000] if address.lower().startswith(("http://", "https://")) else None


def plain_text(markup: str, limit: int) -> str:
    """Text without tags, entities and control characters, on one line, cut at a word within `limit` characters."""
    text = markup[:_MAX_MARKUP]
    # Twice: much of what feeds carry is HTML escaped inside of HTML.
    for _ in range(2):
        if not _MARKUP.search(text):
            break
        text = _without_elements(text)
        text = replace_entities(remove_tags(_BREAKS.sub(" ", text)))
    text = one_line(text)
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[limit // 2 :] else cut) + "…"


def _without_elements(text: str) -> str:
    """The text without scripts and styles. Never looks for an end that is not there: repeated, that takes long."""
    for element, end in _ELEMENTS:
        ends = [found.end() for found in end.finditer(text)]
        if ends:
            text = element.sub(" ", text[: ends[-1]]) + text[ends[-1] :]
    return text


def one_line(text: str) -> str:
    """Text without control and direction characters, white space made single spaces."""
    if not text.isascii() or not text.isprintable():
        text = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text if _printable(c))
    return " ".join(text.split())


def _printable(character: str) -> bool:
    # Formatting characters include the direction overrides that make a headline read backwards; a zero-width
    # joiner holds emoji and some scripts together.
    return character == "‍" or unicodedata.category(character) not in ("Cf", "Cs", "Co", "Cn")


def parse_time(text: str | None) -> datetime | None:
    """A time as ISO 8601, RFC 5322 or the prose of a press office; one without a zone is taken as UTC. Else None."""
    if not text:
        return None
    for parse in (datetime.fromisoformat, _mail_time, _prose_time):
        try:
            moment = parse(text[:100].strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _mail_time(text: str) -> datetime:
    if not _MAIL_TIME.fullmatch(text):  # of other texts it takes what it knows: the 10:00 of "10:00 PM"
        raise ValueError("not as RFC 5322 has it")
    return parsedate_to_datetime(text)


def _prose_time(text: str) -> datetime:
    return dateutil.parser.parse(text, default=_UNSAID, tzinfos=_offset_s)


def _offset_s(zone: str | None, offset_s: int | None) -> int | None:
    return _ZONES_S.get(zone or "") if offset_s is None else offset_s
