"""The channel apprise, with the scheme json:// against a real HTTP server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alerts.channel import Deps
from alerts.channels.apprise import inert
from monitor.domain.alerts import Event
from monitor.domain.spikes import Severity
from monitor.errors import DeliveryError, Reason
from tests import receivers
from tests.factories import make_alert, make_notification, make_spike, make_story_evidence
from tests.receivers import SECRET, Endpoint, build, config_at, failure_of


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with receivers.endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with receivers.dependencies() as deps:
        yield deps


@pytest.mark.parametrize(
    ("event", "severity", "kind"),
    [
        (Event.FIRING, Severity.SEVERE, "warning"),
        (Event.UPDATED, Severity.CRITICAL, "failure"),
        (Event.RESOLVED, Severity.CRITICAL, "success"),
        (Event.TEST, Severity.SEVERE, "info"),
    ],
)
async def test_a_service_gets_title_text_and_kind(
    event: Event, severity: Severity, kind: str, deps: Deps, endpoint: Endpoint
) -> None:
    alert = make_alert(spikes=(make_spike(severity=severity),))
    notification = make_notification(event=event, alerts=(alert,))

    await build(config_at("apprise", endpoint.port), deps).send(notification)

    ((line, headers, content),) = endpoint.requests
    body: dict[str, Any] = json.loads(content)
    assert line == f"POST /{SECRET} HTTP/1.1"
    assert headers["user-agent"] == "news-monitor"
    assert (body["title"], body["type"]) == (deps.render.subject(notification), kind)
    assert body["message"].split() == deps.render.text(notification).split()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (302, Reason.CLIENT_ERROR),
        (401, Reason.AUTH),
        (404, Reason.CLIENT_ERROR),
        (410, Reason.GONE),
        (429, Reason.RATE_LIMITED),
        (500, Reason.SERVER_ERROR),
    ],
)
async def test_a_refusal_says_why(status: int, reason: Reason, deps: Deps, endpoint: Endpoint) -> None:
    endpoint.status, endpoint.headers = status, {"Location": "/elsewhere"}
    failure = await failure_of(config_at("apprise", endpoint.port), deps)
    assert (failure.reason, failure.detail) == (reason, f"answered {status}")
    assert len(endpoint.requests) == 1


async def test_a_service_that_hangs_keeps_one_thread(deps: Deps, endpoint: Endpoint) -> None:
    endpoint.status = 0
    channel = build(config_at("apprise", endpoint.port, timeout_s=0.2), deps)
    details = []
    for _ in range(3):
        with pytest.raises(DeliveryError) as caught:
            await channel.send(make_notification())
        assert caught.value.reason is Reason.TIMEOUT
        details.append(caught.value.detail)
    assert details == ["no answer within 0.2 s", *["the attempt before has not ended yet"] * 2]
    assert len(endpoint.requests) == 1


async def test_two_at_once_are_sent_one_after_the_other(deps: Deps, endpoint: Endpoint) -> None:
    channel = build(config_at("apprise", endpoint.port), deps)
    await asyncio.gather(*(channel.send(make_notification(id=str(number))) for number in range(3)))
    assert len(endpoint.requests) == 3


async def test_a_headline_calls_nobody(deps: Deps, endpoint: Endpoint) -> None:
    story = make_story_evidence(title="@everyone sell", url="https://x.example/@here/1")
    spike = make_spike(stories=(story,))
    await build(config_at("apprise", endpoint.port), deps).send(
        make_notification(alerts=(make_alert(spikes=(spike,)),))
    )
    message = json.loads(endpoint.requests[0][2])["message"]
    assert "@everyone" not in message
    assert "@here" not in message
    assert "https://x.example/%40here/1" in message


def test_text_without_a_call_stays_as_it_is() -> None:
    assert inert("Bank <b>halts</b>\n withdrawals") == "Bank <b>halts</b>\n withdrawals"
    assert inert("ask desk@example.com").replace("\N{WORD JOINER}", "") == "ask desk@example.com"
