"""Messages say the numbers first, and outside text in them is inert."""

import json
import re
import unicodedata
from collections.abc import Callable
from datetime import timedelta

import pytest

from alerts import render
from monitor.domain.alerts import Notification
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from tests.factories import NOW, make_alert, make_notification, make_spike, make_story_evidence

HOSTILE = {
    "script": '<script>alert(1)</script>"><img src=x onerror=alert(1)>',
    "template": "{{ 7 * 7 }}{% raw %}{{ message }}",
    "header": "Quarterly loss\r\nBcc: everyone@example.com\r\n\r\nbody",
    "direction": "Shares \u202eesir\u2066 \u200f\u061c again",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m Loss",
    "ten megabytes": "Loss " * 2_000_000,
    "ten megabytes without a space": "L" * 10_000_000,
    "nothing visible": "\u200b\u202e\x00\ue000",
}
SENTENCE = "Financials: 14 negative stories of 18 from 9 sources in 30 min; 2.1 expected"


@pytest.mark.parametrize("title", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_inert_or_cut(title: str) -> None:
    story = make_story_evidence(title=title, source=title, topic=title, story_id="s", article_id="a")
    spike = make_spike(key=Key("source", title), stories=(story,), detector=title, id="spike")
    notification = make_notification(alert=make_alert(spikes=(spike,), group_key=title))

    subject, text, html = render.subject(notification), render.text(notification), render.html(notification)
    body = render.payload(notification).model_dump_json()

    assert len(subject) < 250
    assert len(text) < 2_000
    assert len(html) < 10_000
    assert len(body.encode()) < 20_000
    assert subject.splitlines() == [subject]
    for said in (subject, text, html, *_strings(json.loads(body))):
        assert not [char for char in said if unicodedata.category(char) in {"Cc", "Cf", "Cs"} and char != "\n"]
    for tag in ("<script", "<img", "<body>"):
        assert tag not in html
    assert "49" not in subject
    assert not re.search(r"^Bcc:", text, re.MULTILINE)


def test_a_template_in_a_headline_is_shown_as_it_is() -> None:
    story = make_story_evidence(title="{{ 7 * 7 }} <b>loss</b>")
    notification = make_notification(alert=make_alert(spikes=(make_spike(stories=(story,)),)))

    assert "{{ 7 * 7 }} <b>loss</b>" in render.text(notification)
    assert "{{ 7 * 7 }} &lt;b&gt;loss&lt;/b&gt;" in render.html(notification)


@pytest.mark.parametrize("form", [render.text, render.html])
def test_numbers_then_stories_then_where_they_come_from(form: Callable[[Notification], str]) -> None:
    other = make_spike(key=ALL, observed=20, total=90, stories=(make_story_evidence(title="Elsewhere a fund closes"),))
    notification = make_notification(alert=make_alert(spikes=(make_spike(), other)))

    said = form(notification)

    expected = [
        SENTENCE,
        "Also: All news (20 of 90).",
        "Bank halts withdrawals",
        "2026-03-04 10:50 UTC",
        "negative 97%, ",
        "5 articles from 4 sources",
        "Regulator opens inquiry into lender",
        "Rating agency cuts lender to junk",
        "Elsewhere a fund closes",
        "2026-03-04 10:30 to 11:00 UTC",
        "7.4 standard deviations (severe)",
        "negative_binomial-1",
        notification.id,
    ]
    place = 0
    for part in expected:
        place = said.index(part, place)


def test_the_subject_is_severity_and_sentence() -> None:
    assert render.subject(make_notification()) == f"[severe] {SENTENCE}"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"key": ALL, "observed": 1, "total": 1, "sources": 1},
            "All news: 1 negative story of 1 from 1 source in 30 min",
        ),
        ({"start": NOW - timedelta(hours=2)}, "from 9 sources in 2 h; 2.1 expected"),
        ({"expected": 0.01}, "in 30 min; under 0.1 expected"),
    ],
)
def test_the_sentence_reads_well(overrides: dict[str, object], sentence: str) -> None:
    spike = make_spike(**overrides)
    assert sentence in render.subject(make_notification(alert=make_alert(spikes=(spike,))))


def test_the_weightiest_stories_are_told_each_once() -> None:
    stories = tuple(make_story_evidence(title=f"Story {number}", sources=number) for number in range(1, 9))
    spikes = (make_spike(stories=stories), make_spike(key=ALL, stories=stories))

    told = render.message(make_notification(alert=make_alert(spikes=spikes)))

    assert [story.title for story in told.stories] == [f"Story {number}" for number in (8, 7, 6, 5, 4)]


def test_a_key_is_named_once_however_many_windows_it_spiked_over() -> None:
    markets = Key("topic", "Markets")
    wide = make_spike(start=NOW - timedelta(hours=2))
    spikes = (make_spike(), wide, make_spike(key=markets), make_spike(key=markets, id="again"))

    assert render.message(make_notification(alert=make_alert(spikes=spikes))).further == "Markets (14 of 18)"


def test_many_keys_take_one_line() -> None:
    spikes = tuple(make_spike(key=Key("source", f"Feed {number}")) for number in range(100))

    further = render.message(make_notification(alert=make_alert(spikes=spikes))).further

    assert further is not None
    assert further.endswith("Feed 8 (14 of 18), 91 more")


def test_right_to_left_names_are_set_apart() -> None:
    spike = make_spike(key=Key("source", "وكالة"))
    assert "\u2068وكالة\u2069: 14 negative" in render.text(make_notification(alert=make_alert(spikes=(spike,))))


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://news.example.com/a?b=1&c=2", "https://news.example.com/a?b=1&c=2"),
        ("HTTP://news.example.com/a", "http://news.example.com/a"),
        ("https://news.example.com/ü\u202e", "https://news.example.com/%C3%BC%E2%80%AE"),
        ("https://nëws.example.com/", "https://xn--nws-jma.example.com/"),
        ("javascript:alert(1)", None),
        ("data:text/html,<script>", None),
        ("https://bank.example.com@evil.example.com/", None),
        ("https://news.example.com/\r\nBcc: x", None),
        ("//news.example.com/a", None),
        ("https:///a", None),
        ("https://news.example.com/" + "a" * 3000, None),
        (None, None),
    ],
)
def test_only_plain_web_links_are_linked(url: str | None, link: str | None) -> None:
    assert render.safe_url(url) == link
    notification = make_notification(alert=make_alert(spikes=(make_spike(stories=(make_story_evidence(url=url),)),)))
    assert ("href=" in render.html(notification)) == (link is not None)


def test_a_cut_is_shown() -> None:
    assert render.clean("a" * 30, 10) == "a" * 9 + "…"
    assert render.clean("a" * 10, 10) == "a" * 10


def test_the_payload_fits_at_the_cost_of_stories() -> None:
    stories = tuple(
        make_story_evidence(
            title="銀" * 500, url=f"https://news.example.com/{number}/{'a' * 1900}", story_id=str(number)
        )
        for number in range(5)
    )
    spikes = tuple(make_spike(key=Key("source", f"{number} {'銀' * 100}"), stories=stories) for number in range(20))

    body = render.payload(make_notification(alert=make_alert(spikes=spikes)), max_bytes=12_000)

    assert 0 < len(body.data.stories) < 5
    assert len(body.model_dump_json().encode()) < 12_000


def test_severity_is_that_of_the_worst_spike() -> None:
    spikes = (make_spike(), make_spike(key=ALL, severity=Severity.CRITICAL))
    assert render.message(make_notification(alert=make_alert(spikes=spikes))).severity is Severity.CRITICAL


def _strings(node: object) -> list[str]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in _strings(value)]
    if isinstance(node, list):
        return [found for value in node for found in _strings(value)]
    return [node] if isinstance(node, str) else []
