"""Turns the bytes of a feed into entries. Runs in a process of its own, which may be killed."""

import json
import re
import resource
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import feedparser

from monitor.errors import Reason
from pipelines.ingest.source import Entry, Note

_MEMORY_BYTES = 2_000_000_000
_MAX_TTL_MIN = 7 * 24 * 60
_MAX_TEXT = 20_000
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_ALTERNATE = re.compile(
    r"<link\b(?=[^>]*\btype=[\"']?application/(?:rss|atom|feed)\+(?:xml|json))[^>]*\bhref=[\"']?([^\"'\s>]+)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(rb"&#(?:x([0-9a-f]+)|([0-9]+));?", re.IGNORECASE)
_REFERENCES = re.compile(rb"(?:&#(?:x[0-9a-f]+|[0-9]+);?)+", re.IGNORECASE)
# What feedparser calls malformed, and every publisher does: neither loses anything.
_HARMLESS = (feedparser.CharacterEncodingOverride, feedparser.NonXMLContentType)


class Parsed(NamedTuple):
    """What a body holds. `note` tells of a defect that did not prevent reading it. Units: `ttl_s` seconds."""

    entries: tuple[Entry, ...]
    ttl_s: float = 0.0
    note: Note | None = None


class Unreadable(NamedTuple):
    """Why a body is no feed. Returned, not raised: exceptions with arguments do not cross processes."""

    reason: Reason
    detail: str


def parse(body: bytes, content_type: str, url: str, max_entries: int = sys.maxsize) -> Parsed | Unreadable:
    """Reads RSS, Atom, RDF or JSON Feed. Takes bytes and never opens anything."""
    parsed = _parse(body, content_type, url)
    if isinstance(parsed, Unreadable) or len(parsed.entries) <= max_entries:
        return parsed
    note = Note(
        Reason.TOO_LARGE, f"{len(parsed.entries)} entries; ingest.max_entries allows {max_entries}, these are taken"
    )
    return parsed._replace(entries=parsed.entries[:max_entries], note=note)


def _parse(body: bytes, content_type: str, url: str) -> Parsed | Unreadable:
    _limit_memory()
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n\0")[:2048]
    if not start:
        return Unreadable(Reason.EMPTY, "the body is empty")
    if start[:1] in (b"{", b"["):
        return _json_feed(body, url)
    return _xml_feed(body, start, content_type, url)


def _limit_memory() -> None:
    """What parsing may take comes on top of what the process has: one that has torch loaded starts with gigabytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux: there the limit is a rough one
        pages = 0
    wanted = pages * resource.getpagesize() + _MEMORY_BYTES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _xml_feed(body: bytes, start: bytes, content_type: str, url: str) -> Parsed | Unreadable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        document = feedparser.parse(
            _REFERENCES.sub(_mended, body),
            # Not told where the body is from: a guid is not to change with it. Links are made absolute below.
            response_headers={"content-type": content_type},
            # Markup is stripped later: cleaning it, and making the links in it absolute, would be most of the work.
            sanitize_html=False,
            resolve_relative_uris=False,
        )
    defect = document.get("bozo_exception")
    if not document.version and not document.entries:
        return _no_feed(body, start, url, defect)
    entries = tuple(_xml_entry(entry, document.feed, url) for entry in document.entries)
    note = None
    if not entries:
        note = Note(Reason.EMPTY, f"a {document.version or 'feed'} without entries")
    if defect is not None and not isinstance(defect, _HARMLESS):
        note = Note(Reason.MALFORMED, f"{defect}; {len(entries)} entries read"[:300])
        if not entries:
            return Unreadable(Reason.MALFORMED, f"{defect}; no entry could be read"[:300])
    return Parsed(entries, _ttl_s(document.feed), note)


def _mended(run: re.Match[bytes]) -> bytes:
    """Character references that name characters: some publishers write one emoji as two halves of a UTF-16 pair.

    Both of feedparser's parsers give up a whole feed for one of them.
    """
    digits = _REFERENCE.findall(run[0])
    # More than eight digits are no character either, and cost time.
    codes = [int(decimal.lstrip(b"0")[:8] or b"0") if decimal else int(hexa[-8:], 16) for hexa, decimal in digits]
    if not any(0xD800 <= code <= 0xDFFF or code > 0x10FFFF for code in codes):
        return run[0]
    halves = "".join(chr(code) if code <= 0x10FFFF else "\ufffd" for code in codes)
    whole = halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "".join(f"&#{ord(character)};" for character in whole).encode()


def _no_feed(body: bytes, start: bytes, url: str, defect: object) -> Unreadable:
    if b"<opml" in start.lower():  # before HTML: it has a head and a body as well
        return Unreadable(Reason.NOT_A_FEED, "a list of feeds (OPML); `monitor feeds import` reads it")
    if _HTML.search(start):
        offered = [_absolute(url, href) for href in _ALTERNATE.findall(body[:200_000].decode("utf-8", "replace"))[:3]]
        hint = f"; it offers {', '.join(filter(None, offered))}" if any(offered) else ""
        return Unreadable(Reason.NOT_A_FEED, f"a web page{hint}")
    if start.startswith(b"<"):
        return Unreadable(Reason.NOT_A_FEED, f"XML, but no feed: {defect}"[:300] if defect else "XML, but no feed")
    return Unreadable(Reason.NOT_A_FEED, "neither XML nor JSON")


def _ttl_s(feed: Any) -> float:
    try:
        return 60.0 * min(max(int(feed.get("ttl", 0)), 0), _MAX_TTL_MIN)
    except (TypeError, ValueError):
        return 0.0


def _xml_entry(entry: Any, feed: Any, base: str) -> Entry:
    content = entry.get("content") or [{}]
    summary = entry.get("summary") or content[0].get("value") or ""
    link = entry.get("link") or next((link.get("href") for link in entry.get("links", []) if link.get("href")), None)
    guid = entry.get("id") or None
    # dict.get: feedparser's own looks a missing date up under other names, and warns of it.
    moment = (
        dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed") or dict.get(entry, "created_parsed")
    )
    return _entry(
        title=entry.get("title") or "",
        summary=summary,
        url=link or (guid if guid and guid.startswith(("http://", "https://")) else None),
        base=base,
        guid=guid,
        published=_iso(moment) or dict.get(entry, "published") or dict.get(entry, "updated"),
        language=content[0].get("language") or feed.get("language"),
    )


def _iso(moment: time.struct_time | None) -> str | None:
    if moment is None:
        return None
    try:
        return datetime(*moment[:6], tzinfo=UTC).isoformat()
    except ValueError:
        return None


def _json_feed(body: bytes, url: str) -> Parsed | Unreadable:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Unreadable(Reason.MALFORMED, f"not JSON: {error}"[:300])
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        return Unreadable(Reason.NOT_A_FEED, "JSON, but no JSON Feed: it has no list of items")
    items = [item for item in document["items"] if isinstance(item, dict)]
    entries = tuple(_json_entry(item, document, url) for item in items)
    skipped = len(document["items"]) - len(items)
    note = Note(Reason.MALFORMED, f"{skipped} items are no objects") if skipped else None
    return Parsed(entries, note=note if entries else Note(Reason.EMPTY, "a JSON Feed without items"))


def _json_entry(item: dict[str, Any], document: dict[str, Any], base: str) -> Entry:
    """Source: JSON Feed 1.1, https://www.jsonfeed.org/version/1.1/."""

    def text(*names: str) -> str:
        return next((str(item[name]) for name in names if isinstance(item.get(name), str | int | float)), "")

    body = text("summary", "content_text", "content_html")
    return _entry(
        title=text("title"),
        summary=body,
        url=text("url", "external_url") or None,
        base=base,
        guid=text("id") or None,
        published=text("date_published", "date_modified") or None,
        language=text("language") or (lang if isinstance(lang := document.get("language"), str) else None),
    )


def _entry(
    *,
    title: str,
    summary: str,
    url: str | None,
    base: str,
    guid: str | None,
    published: str | None,
    language: str | None,
) -> Entry:
    entry = Entry(
        title=title[:_MAX_TEXT],
        summary=summary[:_MAX_TEXT],
        url=_absolute(base, url),
        guid=guid[:2000] if guid else None,
        published=published,
        language=language[:35] if isinstance(language, str) else None,
        source=None,
        raw={},
    )
    return entry._replace(raw={name: value for name, value in entry._asdict().items() if name != "raw"})


def _absolute(base: str, url: str | None) -> str | None:
    if not url:
        return None
    try:
        return urljoin(base, url)[:2000]
    except ValueError:
        return None
