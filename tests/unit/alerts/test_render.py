"""Messages say the numbers first, and outside text in them is inert."""

import json
import re
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.cleaning import clean, safe_url
from alerts.links import Links
from alerts.render import MAX_SUBJECT, AlertPayload, DigestPayload, Renderer
from monitor.domain.alerts import Alert, Digest, DigestEntry, Event, History, Notification, Verdict, WatchedKey
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import ALL, Key
from tests import mails
from tests.factories import NOW, make_alert, make_notification, make_spike, make_story_evidence

HOSTILE = {
    "script": '<script>alert(1)</script>"><img src=x onerror=alert(1)>',
    "template": "{{ 7 * 7 }}{% raw %}{{ message }}",
    "style": '</style><style>*{display:none}</style>" style="position:fixed',
    "header": "Quarterly loss\r\nBcc: everyone@example.com\r\n\r\nbody",
    "direction": "Shares \u202eesir\u2066 \u200f\u061c again",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m Loss",
    "ten megabytes": "Loss " * 2_000_000,
    "ten megabytes without a space": "L" * 10_000_000,
    "nothing visible": "\u200b\u202e\x00\ue000",
}
SENTENCE = "Financials: 14 negative stories of 18 from 9 sources in 30 min; 2.1 expected"
RENDER = Renderer()
LINKED = Renderer(mails.LINKS)
EVENTS = [event for event in Event if event is not Event.DIGEST]


def _spiked(*spikes: Spike, **overrides: Any) -> Notification:
    """A notification of one alert for each spike."""
    return make_notification(alerts=tuple(make_alert(spikes=(spike,)) for spike in spikes), **overrides)


def _hostile(text: str, event: Event) -> Notification:
    """Has the text wherever outside text, or a name of the configuration, comes in."""
    story = make_story_evidence(title=text, source=text, topic=text, story_id="s", article_id="a")
    spike = make_spike(key=Key("source", text), stories=(story,), detector=text, id="spike")
    alert = make_alert(spikes=(spike,), labels={text: text})
    history = History(key=spike.key, start=NOW - timedelta(hours=1), width_s=1800, negative=(1, 14), heard=(True, True))
    digest = Digest(
        start=NOW - timedelta(hours=1),
        end=NOW,
        keys=(WatchedKey(key=spike.key, stories=18, negative=14, before=1),),
        entries=(DigestEntry(alert=alert, verdict=Verdict.SILENCED, detail=text),),
    )
    return make_notification(
        id="n", event=event, alerts=(alert, alert), receiver=text, route=text, group={text: text}, history=history,
        digest=digest if event is Event.DIGEST else None,
    )  # fmt: skip


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_inert_or_cut(text: str, event: Event) -> None:
    notification = _hostile(text, event)

    subject, plain, html = LINKED.subject(notification), LINKED.text(notification), LINKED.html(notification, "cid")
    body = LINKED.payload(notification).model_dump_json()

    assert len(plain) < 6_000
    assert len(html) < 25_000
    assert len(body.encode()) < 20_000
    assert subject.splitlines() == [subject]
    for said in (subject, plain, html, *_strings(json.loads(body))):
        assert not [char for char in said if unicodedata.category(char) in {"Cc", "Cf", "Cs"} and char != "\n"]
    seen = _Seen(html)
    assert not seen.tags & {"script", "iframe", "link", "object"}
    assert seen.count["body"] == seen.count["html"] == seen.count["style"] == 1
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not [value for name, value in seen.attributes if name == "style" and "fixed" in (value or "")]
    assert "49" not in subject
    assert not re.search(r"^Bcc:", plain, re.MULTILINE)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300), event=st.sampled_from(EVENTS))
def test_whatever_comes_in_is_one_document_without_scripts(text: str, event: Event) -> None:
    notification = _hostile(text, event)
    seen, usual = _Seen(RENDER.html(notification)), _Seen(RENDER.html(_hostile("Loss", event)))
    del seen.count["bdi"], usual.count["bdi"]  # where there is no route, none is named
    assert seen.count == usual.count
    subject = RENDER.subject(notification)
    assert len(subject) <= MAX_SUBJECT
    assert subject.splitlines() == [subject]


def test_a_template_in_a_headline_is_shown_as_it_is() -> None:
    notification = _spiked(make_spike(stories=(make_story_evidence(title="{{ 7 * 7 }} <b>loss</b>"),)))

    assert "{{ 7 * 7 }} <b>loss</b>" in RENDER.text(notification)
    assert "{{ 7 * 7 }} &lt;b&gt;loss&lt;/b&gt;" in RENDER.html(notification)


@pytest.mark.parametrize("form", [LINKED.text, LINKED.html])
def test_what_happened_then_the_proof_then_why_you_then_the_fine_print(form: Callable[[Notification], str]) -> None:
    notification = mails.firing(receiver="banks")
    tokens = re.findall(r"https://monitor\.example\.org/alerts/([\w.-]+)", form(notification))
    said = _Seen(form(notification)).text if form == LINKED.html else form(notification)

    expected = [
        f"{SENTENCE}; such a half hour comes about once in 8 months.",
        "Harbour Trust Bank halts withdrawals",
        "Example Wire, 2026-03-04 10:32 UTC",
        "negative 97%, Financials; 9 articles from 7 sources",
        "Regulator opens inquiry",
        "Sources: Example Wire 2, Market Courier 2,",
        "Topics: Financials 5, Macro 2.",
        "Also firing: Harbour Trust Bank (6 of 7).",
        "receiver banks",
        'route {}/{sector="Financials"}',
        "sector=Financials",
        "Acknowledge",
        "Silence",
        "19 times in 20 from 0 to 5",
        "2026-03-04 10:30 to 11:00 UTC",
        "7.4 standard deviations (severe)",
        "negative_binomial-1",
        "key=Financials, severity=severe, sector=Financials",
        notification.alerts[0].id,
        notification.id,
    ]
    place = 0
    for part in expected:
        place = said.index(part, place)
    opened = [mails.LINKS.open(token, NOW) for token in tokens]
    assert [one.action for one in opened] == ["page", "acknowledge", "silence"]
    assert {(one.alert_id, one.recipient) for one in opened} == {(notification.alerts[0].id, "desk@example.com")}


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (Event.FIRING, f"[severe] {SENTENCE}"),
        (Event.UPDATED, f"[severe, updated] {SENTENCE.replace('Financials:', 'Financials: grown to')}"),
        (
            Event.REPEATED,
            f"[severe, repeated] Financials: still firing since 11:00 UTC; {SENTENCE.removeprefix('Financials: ')}",
        ),
        (
            Event.RESOLVED,
            "[resolved] Financials: over since 12:10 UTC; it lasted 1 h 10 min; 14 negative stories in all",
        ),
        (Event.TEST, f"[test] TEST, made up: {SENTENCE}"),
    ],
)
def test_the_subject_is_what_it_is_and_the_sentence(event: Event, subject: str) -> None:
    ended = NOW + timedelta(minutes=70) if event is Event.RESOLVED else None
    alert = make_alert(resolved_at=ended)
    notification = make_notification(event=event, alerts=(alert,))
    assert RENDER.subject(notification) == subject
    assert RENDER.text(notification).count(subject.partition("] ")[2]) == 1


@pytest.mark.parametrize("alerts", [(), (make_alert(),)])
def test_a_test_is_marked_everywhere_and_leads_nowhere(alerts: tuple[Alert, ...]) -> None:
    notification = make_notification(event=Event.TEST, alerts=alerts)
    body = LINKED.payload(notification)
    assert LINKED.subject(notification).startswith("[test] TEST")
    for said in (LINKED.text(notification), _Seen(LINKED.html(notification)).text):
        assert "TEST" in said
        assert "nothing happened" in said.lower()
        assert "/alerts/" not in said
    assert body.type == "test"
    assert body.data.summary.startswith("TEST")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"key": ALL, "observed": 1, "total": 1, "sources": 1},
            "All news: 1 negative story of 1 from 1 source in 30 min",
        ),
        ({"start": NOW - timedelta(hours=2)}, "from 9 sources in 2 h; 2.1 expected"),
        ({"expected": 0.01}, "in 30 min; under 0.1 expected"),
        ({"per_week": 2.0, "start": NOW - timedelta(minutes=45)}, "; such 45 minutes come about twice a week"),
    ],
)
def test_the_sentence_reads_well(overrides: dict[str, object], sentence: str) -> None:
    assert sentence in RENDER.subject(_spiked(make_spike(**overrides)))


def test_a_long_subject_loses_its_last_parts() -> None:
    spike = make_spike(
        key=Key("entity", "Long Name " * 20), per_week=0.01, observed=12_345, total=123_456, sources=1234
    )
    subject = RENDER.subject(_spiked(spike, spike))
    assert subject.endswith("…: 12345 negative stories of 123456 from 1234 sources in 30 min; 1 more")
    assert len(subject) <= MAX_SUBJECT


def test_the_weightiest_stories_are_told_each_once() -> None:
    stories = tuple(make_story_evidence(title=f"Story {number}", sources=number) for number in range(1, 9))
    body = RENDER.payload(_spiked(make_spike(stories=stories), make_spike(key=ALL, stories=stories)))

    assert isinstance(body, AlertPayload)
    assert [story.title for story in body.data.stories] == [f"Story {number}" for number in (8, 7, 6, 5, 4)]
    assert [(share.name, share.stories) for share in body.data.sources] == [("Example Wire", 8)]


def test_stories_are_those_of_what_the_message_is_about() -> None:
    other = make_alert(spikes=(make_spike(key=ALL, stories=(make_story_evidence(title="Elsewhere"),)),))
    notification = make_notification(alerts=(make_alert(), other), about=1)
    assert "Elsewhere" not in RENDER.text(notification)
    assert "Also firing: All news (14 of 18)." in RENDER.text(notification)


def test_of_many_sources_the_greatest_are_named() -> None:
    stories = tuple(
        make_story_evidence(title=f"{source} {number}", source=f"Feed {source}")
        for source in range(9)
        for number in range(10 - source)
    )
    assert "Sources: Feed 0 10, Feed 1 9, Feed 2 8, Feed 3 7, Feed 4 6, Feed 5 5, others 9." in RENDER.text(
        _spiked(make_spike(stories=stories))
    )


def test_many_alerts_take_one_line() -> None:
    spikes = [make_spike(key=Key("source", f"Feed {number}")) for number in range(100)]
    body = RENDER.payload(_spiked(*spikes, more=20))

    assert isinstance(body, AlertPayload)
    assert body.data.also_firing is not None
    assert body.data.also_firing.endswith("Feed 8 (14 of 18), 111 more")
    assert len(body.data.alerts) + body.data.further_alerts == 120


def test_alerts_that_ended_are_told_apart() -> None:
    over = make_alert(key=ALL, resolved_at=NOW)
    said = RENDER.text(make_notification(alerts=(make_alert(), over), about=1))
    assert "Also firing" not in said
    assert "Over: All news (14 of 18)." in said


def test_without_a_base_address_there_are_no_links_to_the_monitor() -> None:
    assert "Acknowledge" not in RENDER.html(mails.firing()) + RENDER.text(mails.firing())
    assert "Acknowledge" in LINKED.html(mails.firing())


def test_what_is_over_needs_no_acknowledgement() -> None:
    said = LINKED.text(mails.resolved())
    assert "Open:" in said
    assert "Acknowledge" not in said


@pytest.mark.parametrize("notification", [mails.firing(), mails.resolved(), mails.digest()])
def test_every_attempt_says_the_same_and_no_secret(notification: Notification) -> None:
    secret = "do-not-tell-this-to-anybody-at-all"
    said = [
        (one.subject(notification), one.text(notification), one.html(notification, "c"), one.payload(notification))
        for one in (
            Renderer(Links("https://m.example.org", secret, 7)),
            Renderer(Links("https://m.example.org", secret, 7)),
        )
    ]
    assert said[0] == said[1]
    assert secret not in repr(said)


@pytest.mark.parametrize(
    "notification", [mails.firing(), mails.resolved(), mails.digest(), make_notification(event=Event.TEST)]
)
def test_the_html_fetches_nothing_and_can_be_read_aloud(notification: Notification) -> None:
    seen = _Seen(LINKED.html(notification, "trend@example.org"))
    sources = [value for name, value in seen.attributes if name in {"src", "background", "srcset"}]
    assert sources == (["cid:trend@example.org"] if notification.history else [])
    assert ("lang", "en") in seen.attributes
    assert not re.search(r"url\(|@import", LINKED.html(notification))
    assert seen.count["img"] == len([None for name, value in seen.attributes if name == "alt" and value])
    assert "prefers-color-scheme: dark" in LINKED.html(notification)
    assert seen.count["table"] <= sum(
        name in {"role", "class"} and value in {"presentation", "keys"} for name, value in seen.attributes
    )


def test_without_a_picture_none_is_shown() -> None:
    assert "<img" not in LINKED.html(mails.firing())
    assert LINKED.picture(make_notification()) is None
    assert (LINKED.picture(mails.firing()) or b"").startswith(b"\x89PNG")


def test_right_to_left_names_are_set_apart() -> None:
    assert "\u2068وكالة\u2069: 14 negative" in RENDER.text(_spiked(make_spike(key=Key("source", "وكالة"))))


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
    assert safe_url(url) == link
    html = RENDER.html(_spiked(make_spike(stories=(make_story_evidence(url=url),))))
    assert [value for name, value in _Seen(html).attributes if name == "href"] == ([] if link is None else [link])


def test_a_cut_is_shown() -> None:
    assert clean("a" * 30, 10) == "a" * 9 + "…"
    assert clean("a" * 10, 10) == "a" * 10


def test_the_payload_fits_at_the_cost_of_stories_then_of_alerts() -> None:
    wide = "🏦" * 500
    stories = tuple(
        make_story_evidence(title=wide, url=f"https://news.example.com/{number}/{'a' * 1900}", story_id=str(number))
        for number in range(5)
    )
    labels = {f"{number}{wide}": wide for number in range(20)}
    alerts = tuple(
        make_alert(spikes=(make_spike(key=Key("source", f"{number}{wide}"), stories=stories),), labels=labels)
        for number in range(20)
    )
    notification = make_notification(alerts=alerts, receiver=wide, route=wide, group=labels, recipient="r" * 254)
    for max_bytes, kept_stories, kept_alerts in ((1_000_000, 5, 10), (60_000, 4, 10), (20_000, 0, 2)):
        body = LINKED.payload(notification, max_bytes=max_bytes)
        assert isinstance(body, AlertPayload)
        assert len(body.model_dump_json().encode()) < max_bytes
        assert len(body.data.stories) <= kept_stories
        assert 1 <= len(body.data.alerts) <= kept_alerts
        assert len(body.data.alerts) + body.data.further_alerts == 20


def test_a_digest_payload_fits_at_the_cost_of_its_ends() -> None:
    digest = mails.digest().digest
    assert digest is not None
    long = digest.model_copy(update={"entries": digest.entries * 30, "keys": digest.keys * 30})
    body = LINKED.payload(mails.digest().model_copy(update={"digest": long}))
    assert isinstance(body, DigestPayload)
    assert len(body.model_dump_json().encode()) < 20_000
    assert len(body.data.entries) + body.data.further_entries == 90
    assert len(body.data.keys) + body.data.further_keys == 210
    assert body.data.keys


def test_severity_is_that_of_the_worst_told() -> None:
    notification = _spiked(make_spike(), make_spike(key=ALL, severity=Severity.CRITICAL))
    assert RENDER.subject(notification).startswith("[critical] Financials: ")
    assert RENDER.payload(notification).model_dump()["data"]["severity"] is Severity.CRITICAL


@pytest.mark.parametrize("form", [LINKED.text, LINKED.html])
def test_a_digest_tells_the_trend_then_what_became_of_the_alerts(form: Callable[[Notification], str]) -> None:
    given_ = form(mails.digest())
    said = " ".join((_Seen(given_).text if form == LINKED.html else given_).split())
    expected = [
        "3 alerts in the 24 h until 2026-03-04 11:00 UTC, 2 of them told; 212 negative stories of 1240.",
        "Key Negative Before Stories Share Heard",
        "All news 212 187 1240 17% 98%",
        "Harbour Trust Bank 24 1 31 77% 98%",
        "Harbour Trust Bank: 6 negative stories of 7",
        "2026-03-04 11:00 UTC: told",
        "Quay Lending: 3 negative stories of 4",
        "not told: the day's budget was spent (10 messages in 24 h)",
        "receiver desk asks for digests",
    ]
    place = 0
    for part in expected:
        place = said.index(part, place)


def test_a_quiet_digest_says_so_and_how_much_was_heard() -> None:
    assert LINKED.subject(mails.digest(quiet=True)) == (
        "[digest] Nothing happened in the 24 h until 2026-03-04 11:00 UTC: no alerts; 212 negative stories of 1240"
    )
    deaf = WatchedKey(key=ALL, stories=3, negative=1, before=2, observed=0.31)
    digest = Digest(start=NOW - timedelta(hours=1), end=NOW, keys=(deaf,), entries=())
    said = RENDER.text(make_notification(event=Event.DIGEST, alerts=(), digest=digest))
    assert "no alerts; 1 negative story of 3; only 31% of the sources' time was heard." in said


WIRE, BANK = Key("source", "Wire"), Key("entity", "Bank")


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ({ALL: 1.0}, "Nothing happened {time}: no alerts; 0 negative stories of 0."),
        ({ALL: 0.0}, "No alerts {time}, but nothing was heard of any source; 0 negative stories of 0."),
        ({ALL: None}, "No alerts {time}, but it is not known whether the sources were heard; 0 negative stories of 0."),
        ({}, "No alerts {time}, but it is not known whether the sources were heard."),
        # All news decides where it is watched, else the key of which the least was heard.
        ({ALL: 1.0, WIRE: 0.0}, "Nothing happened {time}: no alerts; 0 negative stories of 0."),
        ({BANK: 0.95, WIRE: 1.0}, "Nothing happened {time}: no alerts."),
        ({BANK: 0.31, WIRE: 0.5}, "Nothing happened {time}: no alerts; only 31% of the sources' time was heard."),
        (
            {BANK: 0.95, WIRE: 0.5},
            "Nothing happened {time}: no alerts; only 50% of the time of Wire was heard.",
        ),
        ({BANK: 0.95, WIRE: 0.0}, "No alerts {time}, but nothing was heard of Wire."),
        ({BANK: 0.95, WIRE: None}, "No alerts {time}, but it is not known whether Wire was heard."),
        ({BANK: None, WIRE: None}, "No alerts {time}, but it is not known whether the sources were heard."),
        ({BANK: None, WIRE: 0.0}, "No alerts {time}, but nothing was heard of Wire."),
    ],
)
def test_a_digest_that_heard_too_little_does_not_say_all_was_quiet(
    heard: dict[Key, float | None], expected: str
) -> None:
    keys = tuple(WatchedKey(key=key, stories=0, negative=0, before=0, observed=share) for key, share in heard.items())
    digest = Digest(start=NOW - timedelta(hours=1), end=NOW, keys=keys, entries=())
    said = RENDER.text(make_notification(event=Event.DIGEST, alerts=(), digest=digest))
    assert said.splitlines()[0] == expected.format(time="in the 60 min until 2026-03-04 11:00 UTC")


@pytest.mark.parametrize(
    ("share", "caveat"),
    [(0.0, "nothing was heard of any source"), (None, "it is not known whether the sources were heard")],
)
def test_a_digest_of_alerts_says_too_that_little_was_heard(share: float | None, caveat: str) -> None:
    digest = mails.digest().digest
    assert digest is not None
    deaf = digest.model_copy(update={"keys": (digest.keys[0].model_copy(update={"observed": share}),)})
    said = LINKED.text(mails.digest().model_copy(update={"digest": deaf})).splitlines()[0]
    assert said.startswith("3 alerts in the 24 h until ")
    assert said.endswith(f"; 212 negative stories of 1240; {caveat}.")


def test_a_share_of_nothing_is_not_told() -> None:
    unknown = WatchedKey(key=ALL, stories=0, negative=0, before=0)
    digest = Digest(start=NOW - timedelta(hours=1), end=NOW, keys=(unknown,), entries=())
    body = RENDER.payload(make_notification(event=Event.DIGEST, alerts=(), digest=digest))
    assert isinstance(body, DigestPayload)
    assert (body.data.keys[0].share, body.data.keys[0].observed) == (None, None)


class _Seen(HTMLParser):
    """What an HTML document holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {"img": 0}
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open = ""
        self.feed(html)

    @property
    def tags(self) -> set[str]:
        return set(self.count)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += attrs
        if tag in {"td", "th", "div", "p", "br", "tr"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._open not in {"style", "title"}:
            self.text += data


def _strings(node: object) -> list[str]:
    if isinstance(node, dict):
        return [found for pair in node.items() for value in pair for found in _strings(value)]
    if isinstance(node, list):
        return [found for value in node for found in _strings(value)]
    return [node] if isinstance(node, str) else []
