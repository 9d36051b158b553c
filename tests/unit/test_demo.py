"""The parts of the demo: the day, the outlets and the mailbox."""

import json
import urllib.request
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from urllib.error import HTTPError

import aiosmtplib
import anyio.to_thread
import feedparser
import pytest
from standardwebhooks import Webhook

from monitor.clock import SystemClock
from monitor.demo.newsday import Item, load
from monitor.demo.run import Report
from monitor.demo.servers import Mailbox, Outlets
from monitor.domain.record import utc
from pipelines.classify.models import _lexicon, lexicon

NOW = utc(2026, 3, 10, 12)
SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"


def test_the_day_leads_up_to_now() -> None:
    day = load(NOW)
    assert len(day.outlets) == 4
    assert all(item.published_at < NOW for item in day.before)
    for ahead in (day.burst, day.calm):
        assert {item.outlet for item in ahead} <= set(day.outlets)
        assert [item.published_at for item in ahead] == [NOW + timedelta(seconds=n) for n in range(len(ahead))]
    every = [*day.before, *day.burst, *day.calm]
    assert len({(item.outlet, item.guid) for item in every}) == len(every)
    assert all(item.title and item.summary for item in every)


def test_the_burst_is_bad_news_and_the_calm_is_not() -> None:
    day = load(NOW)
    classifier = lexicon.Lexicon(_lexicon.read())

    def negative(items: list[Item]) -> int:
        labels = classifier.label([f"{item.title}\n{item.summary}" for item in items])
        return sum(label.top_sentiment == "negative" for label in labels)

    assert negative(day.burst) >= 4
    assert negative(day.calm) < negative(day.burst) / 2


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


@pytest.mark.filterwarnings("default::DeprecationWarning:feedparser")
def test_an_outlet_publishes_its_own_items_the_newest_first() -> None:
    day = load(NOW)
    with Outlets(SECRET) as outlets:
        for item in day.before:
            outlets.publish(item)
        for outlet in day.outlets:
            found = feedparser.parse(get(f"{outlets.url}/{outlet}.xml"))
            assert not found.bozo
            mine = [item for item in reversed(day.before) if item.outlet == outlet]
            assert [entry["title"] for entry in found.entries] == [item.title for item in mine]
            assert [entry["id"] for entry in found.entries] == [item.guid for item in mine]


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_a_webhook_is_verified() -> None:
    body = json.dumps({"data": {"summary": "Spike"}})
    now = SystemClock().now()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
    }
    with Outlets(SECRET) as outlets:
        assert post(f"{outlets.url}/hook", body.encode(), headers) == 204
        assert post(f"{outlets.url}/hook", body.encode() + b" ", headers) == 401
        assert post(f"{outlets.url}/hook", b"", {}) == 401
    assert [(received.verified, received.summary) for received in outlets.webhooks] == [
        (True, "Spike"),
        (False, ""),
        (False, ""),
    ]


async def test_the_mailbox_keeps_what_it_is_sent() -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@bank.example", "b@bank.example", "Zażółć"
    mail.set_content("Text")
    async with Mailbox() as mailbox:
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=mailbox.port)
        await anyio.to_thread.run_sync(lambda: None)
    assert [str(kept["subject"]) for kept in mailbox.mails] == ["Zażółć"]


def report(**overrides: Any) -> Report:
    return Report(
        **{
            "calm": False, "published": 9, "articles": 9, "labelled": 9, "emails": 1, "webhooks": 1,
            "webhooks_verified": 1, "alert_after_s": 2.0, "subject": "s", "mail": "m", "headlines": [], **overrides,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, True),
        ({"emails": 2}, False),
        ({"emails": 0}, False),
        ({"webhooks": 0, "webhooks_verified": 0}, False),
        ({"webhooks_verified": 0}, False),
        ({"alert_after_s": 10.1}, False),
        ({"alert_after_s": None}, False),
        ({"calm": True}, False),
        ({"calm": True, "emails": 0, "webhooks": 0, "webhooks_verified": 0, "alert_after_s": None}, True),
    ],
)
def test_what_the_demo_expects(overrides: dict[str, Any], expected: bool) -> None:
    assert report(**overrides).as_expected is expected
    assert report(**overrides).facts()["as_expected"] is expected
