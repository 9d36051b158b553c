"""Parsing what feeds are said to hold, and what they hold."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.errors import Reason
from pipelines.ingest import parse as module
from pipelines.ingest.parse import Parsed, Unreadable, parse

URL = "https://news.example.com/feeds/all.xml"


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory limit is for the process that parses, not for the one that tests."""
    monkeypatch.setattr(module, "_limit_memory", lambda: None)


def _read(body: bytes | str, content_type: str = "application/xml") -> Parsed:
    parsed = parse(body.encode() if isinstance(body, str) else body, content_type, URL)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def _refused(body: bytes | str, content_type: str = "application/xml") -> Unreadable:
    refused = parse(body.encode() if isinstance(body, str) else body, content_type, URL)
    assert isinstance(refused, Unreadable), refused
    assert refused.detail
    return refused


def _rss(items: str, version: str = "2.0", channel: str = "") -> str:
    return f"<rss version='{version}'><channel><title>T</title>{channel}{items}</channel></rss>"


ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>T</title>
<entry><id>urn:1</id><title type="html">Bank &amp;lt;b&amp;gt;halts</title><link href="../a?b=1&amp;c=2"/>
<updated>2026-03-04T10:00:00Z</updated><content type="html">Text</content></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="x"><title>T</title></channel>
<item rdf:about="https://news.example.com/1"><title>Bank halts</title><link>https://news.example.com/1</link>
<dc:date>2026-03-04T10:00:00Z</dc:date></item></rdf:RDF>"""


@pytest.mark.parametrize("version", ["0.91", "0.92", "2.0"])
def test_rss_of_every_version(version: str) -> None:
    (entry,) = _read(
        _rss(
            "<item><title>Bank halts</title><description>Text</description><link>/a</link><guid>g</guid>"
            "<pubDate>Wed, 04 Mar 2026 11:00:00 +0100</pubDate></item>",
            version,
            "<language>en-us</language>",
        )
    ).entries
    assert (entry.title, entry.summary, entry.guid, entry.language) == ("Bank halts", "Text", "g", "en-us")
    assert (entry.url, entry.published) == ("https://news.example.com/a", "2026-03-04T10:00:00+00:00")
    assert entry.raw["title"] == "Bank halts"
    assert json.dumps(entry.raw)


@pytest.mark.parametrize(("body", "guid"), [(ATOM, "urn:1"), (RDF, "https://news.example.com/1")])
def test_atom_and_rdf(body: str, guid: str) -> None:
    (entry,) = _read(body).entries
    assert (entry.guid, entry.published) == (guid, "2026-03-04T10:00:00+00:00")
    assert entry.url in ("https://news.example.com/a?b=1&c=2", "https://news.example.com/1")
    assert entry.title.startswith("Bank")


@pytest.mark.parametrize("version", ["https://jsonfeed.org/version/1", "https://jsonfeed.org/version/1.1"])
def test_json_feed(version: str) -> None:
    items = [
        {"id": 7, "title": "Bank halts", "content_text": "Text", "url": "/a", "date_published": "2026-03-04T10:00:00Z"},
        {"id": "8", "content_html": "<p>No title", "external_url": "https://x.example/"},
        "no object",
    ]
    parsed = _read(b"\xef\xbb\xbf" + json.dumps({"version": version, "language": "pl", "items": items}).encode())
    assert [(entry.guid, entry.url, entry.language) for entry in parsed.entries] == [
        ("7", "https://news.example.com/a", "pl"),
        ("8", "https://x.example/", "pl"),
    ]
    assert parsed.note is not None
    assert parsed.note.reason is Reason.MALFORMED


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf\0\0", b" " * 5000])
def test_nothing_is_empty(body: bytes) -> None:
    assert _refused(body).reason is Reason.EMPTY


@pytest.mark.parametrize("body", [_rss(""), '{"version": "https://jsonfeed.org/version/1", "items": []}'])
def test_a_feed_without_entries_says_so(body: str) -> None:
    parsed = _read(body)
    assert parsed.note is not None
    assert (parsed.entries, parsed.note.reason) == ((), Reason.EMPTY)


@pytest.mark.parametrize("blank", [b"\n" * 5000, b"\xef\xbb\xbf \n"])
def test_blanks_before_a_feed_do_no_harm(blank: bytes) -> None:
    assert len(_read(blank + b"<?xml version='1.0'?>" + _rss("<item><title>A</title></item>").encode()).entries) == 1


def test_a_web_page_names_the_feeds_it_offers() -> None:
    page = (
        "<!DOCTYPE html><html><head><link rel=alternate type='application/rss+xml' href='/rss'>"
        '<link href="https://[bad" type=application/atom+xml><link rel=stylesheet href=/x.css type=text/css>'
        '<LINK TYPE="application/feed+json" HREF="feed.json"></head></html>'
    )
    refused = _refused(page, "text/html")
    assert refused.reason is Reason.NOT_A_FEED
    assert refused.detail.endswith("https://news.example.com/rss, https://news.example.com/feeds/feed.json")
    assert _refused("<html><body>Sorry").detail == "a web page"


def test_what_else_is_no_feed_is_named() -> None:
    assert "OPML" in _refused("<?xml version='1.0'?><opml version='2.0'><body/></opml>").detail
    for body in ("<svg/>", "plain text", "[1, 2]", '{"a": 1}', "{broken", "[" * 100_000, "%PDF-1.4 \0\xff"):
        assert _refused(body).reason in (Reason.NOT_A_FEED, Reason.MALFORMED)


def test_a_feed_cut_short_gives_what_came_and_says_so() -> None:
    body = _rss("".join(f"<item><title>Story {n}</title><guid>{n}</guid></item>" for n in range(10)))
    parsed = _read(body[: len(body) // 2])
    assert 3 <= len(parsed.entries) <= 6
    assert parsed.note is not None
    assert parsed.note.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("declared", "actual", "content_type"),
    [
        ("utf-8", "windows-1252", "application/xml"),
        ("iso-8859-2", "utf-8", "application/xml; charset=utf-8"),
        ("us-ascii", "utf-8", "text/xml"),
        ("nonsense", "utf-8", "application/xml"),
        ("utf-8", "utf-8", "text/xml; charset=nonsense"),
        ("utf-16", "utf-16", "application/xml"),
    ],
)
def test_a_wrong_encoding_costs_no_entry(declared: str, actual: str, content_type: str) -> None:
    body = f"<?xml version='1.0' encoding='{declared}'?>" + _rss("<item><title>Société café</title></item>")
    (entry,) = _read(body.encode(actual), content_type).entries
    assert entry.title.startswith("Soci")


def test_ten_thousand_entries_are_all_read() -> None:
    body = _rss("".join(f"<item><title>Story {n}</title></item>" for n in range(10_000)))
    assert len(_read(body).entries) == 10_000


def test_what_an_entry_lacks_is_none() -> None:
    bare, linked = _read(
        _rss("<item><description>Text</description></item><item><guid>https://x.example/1</guid></item>")
    ).entries
    assert (bare.title, bare.url, bare.guid, bare.published, bare.language) == ("", None, None, None, None)
    assert linked.url == "https://x.example/1"


@pytest.mark.parametrize("ttl", ["60", "-5", "x", "9" * 30, ""])
def test_a_time_to_live_is_bounded(ttl: str) -> None:
    assert 0 <= _read(_rss("<item><title>A</title></item>", channel=f"<ttl>{ttl}</ttl>")).ttl_s <= 7 * 86_400


def test_an_external_entity_is_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    doctype = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{secret}"><!ENTITY % y SYSTEM "file://{secret}"> %y;]>'
    parsed = parse(f"<?xml version='1.0'?>{doctype}{_rss('<item><title>A &x;</title></item>')}".encode(), "", URL)
    assert "hunter2" not in str(parsed)


def test_an_entity_bomb_ends_early() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    body = f'<!DOCTYPE rss [<!ENTITY e0 "lol">{entities}]>' + _rss("<item><title>A &e11;</title></item>")
    parsed = parse(body.encode(), "application/xml", URL)
    assert isinstance(parsed, Unreadable) or len(parsed.entries[0].title) < 21_000


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("&#55357;&#56832;", "😀"),
        ("&#xD83D;&#xde00;", "😀"),
        ("&#xD83D;", "\ufffd"),
        ("&#99999999999;", "\ufffd"),
        ("&#" + "9" * 5000 + ";", "\ufffd"),
        ("&#x1F600;&#0000000000233;", "😀é"),
    ],
)
def test_a_character_that_is_none_does_not_cost_the_feed(written: str, meant: str) -> None:
    (entry,) = _read(_rss(f"<item><title>Up {written}</title></item>")).entries
    assert entry.title == f"Up {meant}"


def test_a_guid_does_not_depend_on_where_the_feed_is() -> None:
    body = _rss("<item><title>A</title><guid>1</guid><link>a</link></item>").encode()
    here, there = (parse(body, "text/xml", url) for url in (URL, "https://mirror.example.org/x/"))
    assert isinstance(here, Parsed)
    assert isinstance(there, Parsed)
    assert here.entries[0].guid == there.entries[0].guid == "1"
    assert there.entries[0].url == "https://mirror.example.org/x/a"


def test_hostile_letters_in_json_come_through_as_text() -> None:
    body = '{"items": [{"id": "\\ud800", "title": "a\\u0000\\udfff", "url": "http://[", "language": ["x"]}]}'
    (entry,) = _read(body).entries
    assert (entry.title, entry.guid, entry.url, entry.language) == ("a\0\udfff", "\ud800", None, None)


_PIECES = [
    *("<rss version='2.0'>", "<channel>", "<item>", "</item>", "<title>", "</title>", "<![CDATA[", "]]>", "<!", "<?"),
    *("<![if", "&", "&#0;", "&#xD800;", "&nope;", "<!DOCTYPE", "[", "]>", "<!--", "--", "-->", "text", "<link href="),
    *("<feed xmlns='http://www.w3.org/2005/Atom'>", "<entry>", "<updated>", "9999-99-99", "<content type='xhtml'>"),
    *("<div>", "<dc:date>", "<media:content url='", "<geo:lat>", "<georss:point>", "<enclosure length='x'", "{", "\0"),
    *("\ud7ff", "'", '"', ">"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(_PIECES)).map("".join))
@example("<rss><channel><item><![foo")
@example("<rss><channel><item><title>&#xD800;</title></item>")
def test_no_body_breaks_the_parser(body: str) -> None:
    parsed = parse(body.encode(), "application/xml", URL)
    assert isinstance(parsed, Parsed | Unreadable)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    for start in (b"", b"<rss version='2.0'><channel><item><title>", b'{"items": ['):
        assert isinstance(parse(start + body, "text/xml", URL), Parsed | Unreadable)
