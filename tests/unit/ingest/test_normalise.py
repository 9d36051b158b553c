"""From what feeds say to what an article holds."""

import time
import unicodedata
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.article import Article
from monitor.domain.record import decode, encode, utc
from monitor.errors import Reason, RecordError
from pipelines.ingest.normalise import (
    Plausibility,
    ambiguous,
    article,
    canonical,
    one_line,
    parse_time,
    plain_text,
    story_text,
    web_address,
)
from pipelines.ingest.source import Entry
from tests.factories import NOW

PLAUSIBLE = Plausibility(timedelta(days=30), timedelta(minutes=5))
ANY_TEXT = st.text(st.characters(codec=None), max_size=200) | st.text("<>&;#x/scriptp \"'=!-[]", max_size=60)


def _entry(**overrides: Any) -> Entry:
    fields: dict[str, Any] = {
        "title": "Bank halts withdrawals", "summary": "", "url": None, "guid": None, "published": None,
        "language": None, "source": None, "raw": {}, **overrides,
    }  # fmt: skip
    return Entry(**fields)


def _article(source: str = "wire", **overrides: Any) -> Article:
    return article(_entry(**overrides), source=source, fetched_at=NOW, plausibility=PLAUSIBLE)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a <b>bold</b> claim", "a bold claim"),
        ("one<br>two<p>three</p>", "one two three"),
        ("AT&amp;T &euro;5 &#8211; up", "AT&T €5 – up"),
        ("&lt;p&gt;escaped &amp;amp; twice&lt;/p&gt;", "escaped & twice"),
        ("<script>alert(1)</script>safe<style>p{}</style>", "safe"),
        ("<SCRIPT>a</SCRIPT >b<style>c</style d>e", "b e"),
        ("a<script>unclosed", "aunclosed"),
        ("x < y and y > z", "x < y and y > z"),
        ("tab\tline\r\nnext\x0bline\u2028end", "tab line next line end"),
        ("\u202eevil\u202c \u200bzero\ufeff width", "evil zero width"),
        ("\x1b[31mred\x00\x07", "[31mred"),
        ("half\ud800 a pair", "half a pair"),
        ("&#xD800;&#0;&#1114112;ok", "\ufffd\ufffdok"),
        ("👩‍💻 codes", "👩‍💻 codes"),
    ],
)
def test_only_text_is_left(markup: str, text: str) -> None:
    assert plain_text(markup, 500) == text


@given(ANY_TEXT, st.integers(2, 100))
def test_text_is_one_line_of_printable_characters_within_its_limit(markup: str, limit: int) -> None:
    text = plain_text(markup, limit)
    assert len(text) <= limit
    assert text == " ".join(text.split())
    assert not [char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Co") or char in "\u202e\u2066"]
    assert text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<p",
        "<br ",
        "</p",
        "<script",
        "<!--",
        "&",
        "&#",
        "<a href='",
        "<style>",
        "&lt;",
        "<style></script>",
        "</style",
    ],
)
def test_no_markup_takes_long(unit: str) -> None:
    began = time.process_time()
    plain_text(unit * (40_000 // len(unit)), 4000)
    assert time.process_time() - began < 0.5


def test_long_text_is_cut_at_a_word() -> None:
    assert plain_text("word " * 1000, 20) == "word word word…"
    assert plain_text("w" * 1000, 20) == "w" * 19 + "…"
    made = _article(title="t" * 600, summary="s" * 5000, guid="g" * 5000, url="https://x.example/" + "u" * 5000)
    lengths = [len(value) for value in (made.title, made.summary, made.guid or "", made.url or "")]
    assert lengths == [500, 4000, 2000, 2000]


def test_an_entry_without_title_is_told_by_its_text() -> None:
    assert (_article(title="", summary="Only text").title, _article(title="<b></b>", summary="x").title) == (
        "Only text",
        "x",
    )
    long = _article(title="", summary="word " * 200)
    assert long.title == ("word " * 200)[:500].strip() or long.title.startswith("word")
    assert long.summary.startswith("word")
    for nothing in ("", " \n", "\0", "<p></p>", "&nbsp;"):
        with pytest.raises(RecordError) as caught:
            _article(title=nothing, summary=nothing)
        assert caught.value.reason is Reason.NO_TEXT


def test_a_summary_that_repeats_the_title_is_left_out() -> None:
    assert _article(summary="<p>Bank halts withdrawals</p>").summary == ""


def test_the_name_of_a_source_is_cleaned() -> None:
    made = _article(source="The\0 Wi\ud800re\u202e " + "x" * 500)
    assert made.source.startswith("The Wire xxx")
    assert len(made.source) == 200
    assert decode(Article, encode(made)) == made
    with pytest.raises(RecordError):
        _article(source="\0")


def test_a_guid_is_told_apart_by_its_source_and_by_nothing_else() -> None:
    same = {_article(guid="1", title=title, url=url).id for title in "ab" for url in (None, "https://x.example/")}
    assert len(same) == 1
    assert _article(guid="1").id != _article(guid="1", source="other").id


def test_without_a_guid_the_address_tells_whoever_carries_it() -> None:
    plain = _article(url="https://X.example/a?b=1&a=2#top", title="One")
    tracked = _article(url="https://x.example/a?a=2&utm_source=rss&b=1&gclid=z#top", title="Two", source="other")
    assert plain.id == tracked.id
    assert plain.id != _article(url="https://x.example/a?b=1&a=3#top").id
    assert plain.id != _article(url="https://x.example/a?b=1&a=2#end").id


def test_without_both_the_text_tells() -> None:
    assert _article().id == _article(source="other", url="ftp://x.example/", guid="\0").id
    assert _article().id != _article(summary="More").id


@given(ANY_TEXT)
def test_a_canonical_address_stays_as_it_is(text: str) -> None:
    once = canonical(f"https://x.example/{text}")
    assert canonical(once) == once


@given(ANY_TEXT)
def test_an_address_leads_to_the_web_or_nowhere(text: str) -> None:
    for url in (text, f"javascript:{text}", f" https://{text}"):
        address = web_address(url)
        assert address is None or address.lower().startswith(("http://", "https://"))


def test_what_stands_for_many_entries_identifies_none_of_them() -> None:
    entries = [_entry(title=f"Story {n}", guid="feed", url=f"https://x.example/{n}") for n in range(5)]
    entries += [_entry(title=f"Notice {n}", url="https://x.example/notices") for n in range(3)]
    entries += [_entry(title="Fine", guid="own"), _entry(title="Fine", guid="own")]
    distrusted = ambiguous(entries)
    assert distrusted == {"feed", "https://x.example/notices"}
    articles = [
        article(entry, source="wire", fetched_at=NOW, plausibility=PLAUSIBLE, distrusted=distrusted)
        for entry in entries
    ]
    assert len({one.id for one in articles}) == 5 + 3 + 1
    assert articles[5].url == "https://x.example/notices"


@pytest.mark.parametrize(
    "title",
    [
        "BANK halts   withdrawals!",
        "UPDATE 2-Bank halts withdrawals",
        "Exclusive: Bank, halts «withdrawals»",
        "Bänk halts withdrawals",
    ],
)
def test_a_story_is_the_same_in_every_outlet(title: str) -> None:
    assert _article(title=title, source="other").story_id == _article().story_id
    assert _article(title="Bank resumes withdrawals").story_id != _article().story_id


def test_titles_without_a_word_are_not_one_story() -> None:
    assert story_text("!!!") == story_text("🚨") == ""
    assert _article(title="!!!").story_id != _article(title="🚨").story_id


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-04T10:00:00Z", utc(2026, 3, 4, 10)),
        ("2026-03-04T10:00:00+02:00", utc(2026, 3, 4, 8)),
        ("2026-03-04", utc(2026, 3, 4)),
        ("Wed, 04 Mar 2026 10:00:00 EST", utc(2026, 3, 4, 15)),
        ("Wed, 04 Mar 2026 10:00:00 -0000", utc(2026, 3, 4, 10)),
        ("March 4, 2026 10:00 AM EST", utc(2026, 3, 4, 15)),
        ("March 4, 2026 10:00 PM +0200", utc(2026, 3, 4, 20)),
        ("March 4, 2026 10:00 PM UTC", utc(2026, 3, 4, 22)),
        ("March 4, 2026 10:00 PM", utc(2026, 3, 4, 22)),
        ("Wednesday, 4 March 2026 at 22:00 GMT", utc(2026, 3, 4, 22)),
        ("4 March 2026 10:00 XYZT", utc(2026, 3, 4, 10)),
        ("", None),
        (None, None),
        ("soon", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("99999999999999999999", None),
    ],
)
def test_times_are_read_as_they_are_written(text: str | None, moment: datetime | None) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize("text", ["10", "10:30", "Wednesday", "May", "4 March"])
def test_a_date_without_a_year_is_not_todays(text: str) -> None:
    made = _article(published=text)
    assert (made.published_at, made.time_basis) == (NOW, "fetch")


@pytest.mark.parametrize(
    ("published", "basis"),
    [
        (NOW - timedelta(days=30), "publisher"),
        (NOW - timedelta(days=30, seconds=1), "fetch"),
        (NOW + timedelta(minutes=5), "publisher"),
        (NOW + timedelta(minutes=5, seconds=1), "fetch"),
        (utc(1970, 1, 1), "fetch"),
        (utc(2099, 1, 1), "fetch"),
        (None, "fetch"),
    ],
)
def test_only_a_plausible_time_is_believed(published: datetime | None, basis: str) -> None:
    made = _article(published=published and published.isoformat())
    assert (made.time_basis, made.published_at) == (basis, published if basis == "publisher" else NOW)
    assert made.fetched_at == NOW


@settings(max_examples=200, deadline=None)
@given(*[ANY_TEXT] * 2, *[ANY_TEXT | st.none()] * 4, ANY_TEXT)
def test_any_entry_makes_an_article_or_is_refused(
    title: str,
    summary: str,
    url: str | None,
    guid: str | None,
    published: str | None,
    language: str | None,
    source: str,
) -> None:
    given_entry = {
        "title": title,
        "summary": summary,
        "url": url,
        "guid": guid,
        "published": published,
        "language": language,
    }
    try:
        made = _article(source=source, **given_entry)
    except RecordError:
        return
    assert made == _article(source=source, **given_entry)
    assert decode(Article, encode(made)) == made
    assert "\0" not in encode(made).decode()
    assert made.title
    assert one_line(made.title) == made.title


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT | st.from_regex(r"\A[A-Za-z]{0,9},? ?\d{1,4}[-/ :.]\w{1,4}[-/ :.]\d{1,4} ?\S{0,12}\Z"))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    moment = parse_time(text)
    assert moment is None or moment.utcoffset() == timedelta()
