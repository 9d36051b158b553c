"""Reads lists of feeds."""

import html
import re
from typing import NamedTuple
from xml.parsers.expat import ExpatError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from monitor.errors import Reason, RecordError

_OUTLINE = re.compile(r"<outline\b", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(xmlurl|title|text)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)


class Outline(NamedTuple):
    """A feed in a list: where it is, what it is called, and the folders it lies in."""

    url: str
    title: str
    group: str


def read(body: bytes) -> list[Outline]:
    """The feeds of an OPML document, folders flattened into group names.

    Many lists in circulation are not well-formed, for titles and descriptions were put into them as they were. Of these
    the feeds are read all the same, without their folders.
    Raises: RecordError, if it is none.
    Source: OPML 2.0, http://opml.org/spec2.opml, section "Subscription lists".
    """
    try:
        root = fromstring(body)
    except DefusedXmlException as error:
        raise RecordError(Reason.MALFORMED, f"no OPML: {error}") from error
    except (ParseError, ExpatError, ValueError, LookupError) as error:
        found = _read_loosely(body.decode("utf-8", "replace"))
        if not found:
            raise RecordError(Reason.MALFORMED, f"no OPML: {error}") from error
        return found
    if root.tag.lower() != "opml":
        raise RecordError(Reason.MALFORMED, f"no OPML: the document is <{root.tag}>")
    found = []
    # A stack, not recursion: folders may be nested deeper than Python is.
    waiting = [(outline, "") for outline in reversed(root.findall("./body/outline"))]
    while waiting:
        outline, group = waiting.pop()
        attributes = {name.lower(): value for name, value in outline.attrib.items()}
        title = " ".join((attributes.get("title") or attributes.get("text") or "").split())
        if url := attributes.get("xmlurl", "").strip():
            found.append(Outline(url, title, group))
        folder = group if url else " / ".join(part for part in (group, title) if part)
        waiting.extend((child, folder) for child in reversed(outline.findall("outline")))
    return found


def _read_loosely(text: str) -> list[Outline]:
    found = []
    for outline in _OUTLINE.split(text)[1:]:
        attributes = {
            name.lower(): html.unescape(double or single) for name, double, single in _ATTRIBUTE.findall(outline)
        }
        if url := attributes.get("xmlurl", "").strip():
            found.append(Outline(url, " ".join((attributes.get("title") or attributes.get("text") or "").split()), ""))
    return found
