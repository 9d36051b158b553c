"""Reads lists of feeds."""

from typing import NamedTuple
from xml.parsers.expat import ExpatError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from monitor.errors import Reason, RecordError


class Outline(NamedTuple):
    """A feed in a list: where it is, what it is called, and the folders it lies in."""

    url: str
    title: str
    group: str


def read(body: bytes) -> list[Outline]:
    """The feeds of an OPML document, folders flattened into group names.

    Raises: RecordError, if it is none.
    Source: OPML 2.0, http://opml.org/spec2.opml, section "Subscription lists".
    """
    try:
        root = fromstring(body)
    except (ParseError, ExpatError, DefusedXmlException, ValueError, LookupError) as error:
        raise RecordError(Reason.MALFORMED, f"no OPML: {error}") from error
    if root.tag.lower() != "opml":
        raise RecordError(Reason.MALFORMED, f"no OPML: the document is <{root.tag}>")
    found: list[Outline] = []
    # A stack, not recursion: folders may be nested deeper than Python is.
    waiting = [(outline, "") for outline in reversed(root.findall("./body/outline"))]
    while waiting:
        outline, group = waiting.pop()
        attributes = {name.lower(): value for name, value in outline.attrib.items()}
        title = attributes.get("title") or attributes.get("text") or ""
        if url := attributes.get("xmlurl", "").strip():
            found.append(Outline(url, " ".join(title.split()), group))
        folder = group if url else " / ".join(part for part in (group, " ".join(title.split())) if part)
        waiting.extend((child, folder) for child in reversed(outline.findall("outline")))
    return found
