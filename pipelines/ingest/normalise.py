"""From a source's entry to an article: clean text, a plausible time, an identity."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import dateutil.parser
from w3lib.html import remove_tags, remove_tags_with_content, replace_entities
from w3lib.url import canonicalize_url, url_query_cleaner

from monitor.domain.article import Article
from monitor.domain.record import fingerprint
from monitor.errors import Reason, RecordError
from pipelines.ingest.language import detect
from pipelines.ingest.source import Entry

_MAX_TITLE = 500
_MAX_SUMMARY = 4000
# A tag soup of megabytes is cut before it is cleaned, generously, since tags outweigh text.
_MAX_MARKUP = 40_000
_MARKUP = re.compile(r"[<&]")
_BREAKS = re.compile(r"</?(?:p|br|div|li|tr|td|h[1-6])\b[^>]*>", re.IGNORECASE)
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


def article(entry: Entry, *, source: str, fetched_at: datetime, plausibility: Plausibility) -> Article:
    """The article an entry makes.

    Raises: RecordError, if there is neither a title nor a summary.
    """
    title, summary = plain_text(entry.title, _MAX_TITLE), plain_text(entry.summary, _MAX_SUMMARY)
    if not title:  # microblogs and link feeds have none
        title, summary = (summary[:_MAX_TITLE], "" if len(summary) <= _MAX_TITLE else summary)
    if not title:
        raise RecordError(Reason.NO_TEXT, "neither title nor summary")
    if summary == title:
        summary = ""
    published_at, basis = plausibility.event_time(parse_time(entry.published), fetched_at)
    url = web_address(entry.url)
    guid = _one_line(entry.guid)[:2000] if entry.guid else None
    return Article(
        id=identity(source, guid, url, title, summary),
        story_id=fingerprint("story", story_text(title)),
        source=source,
        guid=guid or None,
        url=url,
        title=title,
        summary=summary,
        language=detect(f"{title}. {summary}", entry.language),
        declared_language=_one_line(entry.language)[:35] if entry.language else None,
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


def without_repeated_guids(entries: Sequence[Entry]) -> tuple[list[Entry], set[str]]:
    """Takes the guid from entries that share it though they are different articles; tells which guids these were.

    A guid that stands for many things identifies none of them; their links, or their texts, still do.
    """
    distinct = Counter(
        guid for guid, _, _ in {(entry.guid, entry.url, entry.title) for entry in entries} if guid is not None
    )
    repeated = {guid for guid, times in distinct.items() if times > 1}
    return [entry._replace(guid=None) if entry.guid in repeated else entry for entry in entries], repeated


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
    address = _one_line(url or "")
    return address[:2000] if address.lower().startswith(("http://", "https://")) else None


def plain_text(markup: str, limit: int) -> str:
    """Text without tags, entities and control characters, on one line, cut at a word within `limit` characters."""
    text = markup[:_MAX_MARKUP]
    # Twice: much of what feeds carry is HTML escaped inside of HTML.
    for _ in range(2):
        if not _MARKUP.search(text):
            break
        text = remove_tags_with_content(text, which_ones=("script", "style"))
        text = replace_entities(remove_tags(_BREAKS.sub(" ", text)))
    text = _one_line(text)
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[limit // 2 :] else cut) + "…"


def _one_line(text: str) -> str:
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
    for parse in (datetime.fromisoformat, parsedate_to_datetime, dateutil.parser.parse):
        try:
            moment = parse(text[:100].strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None
