"""A webhook, met by a real HTTP server and by the verifier of the package standardwebhooks."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest
import standardwebhooks
from pydantic import SecretStr

from alerts import retry
from alerts.channel import Deps
from monitor.clock import ManualClock
from monitor.errors import DeliveryError, FetchError, Reason
from monitor.http import client
from monitor.storage.deliveries import Delivery
from tests import receivers
from tests.factories import NOW, make_notification
from tests.receivers import SECRET, Endpoint, build, config_at, example, failure_of

OLD, NEW = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with receivers.endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    async with receivers.dependencies() as deps:
        yield deps


async def test_it_is_signed_and_the_same_on_every_attempt(deps: Deps, endpoint: Endpoint) -> None:
    config = config_at("webhook", endpoint.port)
    verifier = standardwebhooks.Webhook(dict(config)["secret"].get_secret_value())
    notification = make_notification(recipient="endpoint")

    await build(config, deps).send(notification)
    await build(config, deps).send(notification)

    (line, headers, content), (_, headers_again, content_again) = endpoint.requests
    assert line == f"POST /{SECRET} HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == headers_again["webhook-id"] == f"msg_{notification.id}"
    assert content == content_again
    body = verifier.verify(content, headers)
    assert (body["type"], body["timestamp"]) == ("alert.firing", "2026-03-04T11:00:00Z")
    assert body["data"]["stories"][0]["title"] == "Bank halts withdrawals"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(content.replace(b"14", b"15"), headers)


async def test_a_new_secret_takes_over_without_a_gap(deps: Deps, endpoint: Endpoint) -> None:
    """Before, while and after it is replaced: receivers with a secret in use verify, others do not."""
    new, old = SecretStr(NEW), SecretStr(OLD)
    steps = [({"secret": old, "old_secrets": ()}, {OLD}), ({"secret": new, "old_secrets": (old,)}, {OLD, NEW})]
    steps.append(({"secret": new, "old_secrets": ()}, {NEW}))
    for settings, in_use in steps:
        await build(config_at("webhook", endpoint.port, **settings), deps).send(make_notification())
        _, headers, content = endpoint.requests[-1]
        assert len(headers["webhook-signature"].split(" ")) == len(in_use)
        assert {secret for secret in (OLD, NEW) if _verifies(secret, content, headers)} == in_use


def _verifies(secret: str, content: bytes, headers: dict[str, str]) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(content, headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


async def test_a_receiver_in_trouble_is_asked_again_until_it_has_the_message(deps: Deps, endpoint: Endpoint) -> None:
    config = config_at("webhook", endpoint.port, timeout_s=0.2)
    channel = build(config, deps)
    verifier = standardwebhooks.Webhook(dict(config)["secret"].get_secret_value())
    delivery = Delivery(make_notification(), "pending", 0, NOW, NOW + timedelta(hours=72), None, None, None)
    now, told, waited = NOW, [], []

    for status, headers in [
        (429, {"Retry-After": "60"}),
        (500, {}),
        (0, {}),
        (503, {"Retry-After": "9000"}),
        (200, {}),
    ]:
        endpoint.status, endpoint.headers = status, headers
        try:
            await channel.send(delivery.notification)
        except DeliveryError as error:
            delivery = retry.failed(delivery, error, now)
            assert delivery.next_attempt_at is not None
            told.append(delivery.reason)
            waited.append((delivery.next_attempt_at - now).total_seconds())
            now = delivery.next_attempt_at
        else:
            delivery = retry.delivered(delivery, now)

    assert (delivery.state, delivery.attempts) == ("delivered", 5)
    assert told == [Reason.RATE_LIMITED, Reason.SERVER_ERROR, Reason.TIMEOUT, Reason.SERVER_ERROR]
    least = [60, 300, 1800, 9000]
    assert [waited[0], waited[3]] == [60, 9000]
    assert all(at_least <= wait <= 1.1 * at_least for at_least, wait in zip(least, waited, strict=True))
    assert len({headers["webhook-id"] for _, headers, _ in endpoint.requests}) == 1
    assert all(verifier.verify(content, headers) for _, headers, content in endpoint.requests)


async def test_an_endpoint_that_is_gone_is_not_asked_again(deps: Deps, endpoint: Endpoint) -> None:
    endpoint.status = 410
    failure = await failure_of(config_at("webhook", endpoint.port), deps)
    delivery = Delivery(make_notification(), "pending", 0, NOW, NOW + timedelta(hours=72), None, None, None)
    after = retry.failed(delivery, failure, NOW)
    assert (failure.reason, after.state, after.next_attempt_at) == (Reason.GONE, "failed", None)


@pytest.mark.parametrize(
    ("status", "headers", "reason", "retry_after_s"),
    [
        (302, {"Location": "/elsewhere"}, Reason.CLIENT_ERROR, None),
        (400, {"Retry-After": "7"}, Reason.CLIENT_ERROR, None),
        (403, {}, Reason.AUTH, None),
        (410, {}, Reason.GONE, None),
        (429, {"Retry-After": "7"}, Reason.RATE_LIMITED, 7.0),
        (429, {"Retry-After": "9" * 400}, Reason.RATE_LIMITED, 86_400.0),
        (500, {"Retry-After": "soon"}, Reason.SERVER_ERROR, None),
        (502, {"Retry-After": "8"}, Reason.SERVER_ERROR, 8.0),
        (504, {"Retry-After": "9"}, Reason.SERVER_ERROR, 9.0),
        (503, {"Retry-After": format_datetime(NOW + timedelta(minutes=2), usegmt=True)}, Reason.SERVER_ERROR, 120.0),
        (503, {"Retry-After": format_datetime(NOW - timedelta(minutes=2), usegmt=True)}, Reason.SERVER_ERROR, 0.0),
    ],
)
async def test_an_answer_decides_what_happens_next(
    status: int,
    headers: dict[str, str],
    reason: Reason,
    retry_after_s: float | None,
    deps: Deps,
    endpoint: Endpoint,
) -> None:
    endpoint.status, endpoint.headers = status, headers
    failure = await failure_of(config_at("webhook", endpoint.port), deps._replace(clock=ManualClock(NOW)))
    assert (failure.reason, failure.retry_after_s) == (reason, retry_after_s)
    assert len(endpoint.requests) == 1


async def test_a_private_address_is_sent_nothing(deps: Deps, endpoint: Endpoint) -> None:
    async with client(allow_private_addresses=False, user_agent="news-monitor/test") as guarded:
        failure = await failure_of(config_at("webhook", endpoint.port), deps._replace(http=guarded))
    assert failure.reason is Reason.REFUSED_ADDRESS
    assert "private addresses are refused unless alerts.allow_private_addresses is set" in str(failure)
    assert not any(part in str(failure) for part in ("127.0.0.1", str(endpoint.port), SECRET, "http."))
    assert not endpoint.requests


async def test_it_says_who_it_is(deps: Deps, endpoint: Endpoint) -> None:
    async with client(allow_private_addresses=True, user_agent="news-monitor/test") as http:
        await build(config_at("webhook", endpoint.port), deps._replace(http=http)).send(make_notification())
    assert endpoint.requests[0][1]["user-agent"] == "news-monitor/test"


async def test_an_address_refused_by_the_client_is_refused_for_good(deps: Deps) -> None:
    def guard(request: httpx.Request) -> httpx.Response:
        raise FetchError(Reason.REFUSED_ADDRESS, f"{request.url} is private")

    async with httpx.AsyncClient(transport=httpx.MockTransport(guard)) as http:
        failure = await failure_of(example("webhook"), deps._replace(http=http))
    assert failure.reason is Reason.REFUSED_ADDRESS
    assert "hooks.example.com" not in str(failure)
