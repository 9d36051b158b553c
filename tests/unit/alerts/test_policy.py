"""Who hears of what: rules, repeats, and when a failed delivery is tried again."""

from datetime import timedelta

import pytest

from alerts import retry
from alerts.dedup import repeats
from alerts.rules import is_news, withheld
from monitor.domain.spikes import Severity, severity_of
from monitor.domain.windows import ALL
from monitor.errors import DeliveryError, Reason
from monitor.settings import AlertSettings
from monitor.storage.alerts import Delivery
from tests.factories import NOW, make_alert, make_notification, make_spike, make_story_evidence

DELIVERY = Delivery(make_notification(), "pending", 0, NOW, NOW + timedelta(hours=72), None, None, None)


@pytest.mark.parametrize("least", list(Severity))
def test_what_is_below_the_least_severity_is_withheld_and_says_why(least: Severity) -> None:
    settings = AlertSettings(min_severity=least)
    told = [severity for severity in Severity if withheld(make_spike(severity=severity), settings) is None]
    assert told == [severity for severity in Severity if severity.rank >= least.rank]
    if least is Severity.CRITICAL:
        assert "min_severity" in (withheld(make_spike(), settings) or "")


def test_severity_grows_with_rarity() -> None:
    once_in_weeks = (1, 2, 25, 26, 103, 104, 9999)
    assert [str(severity_of(1 / weeks)) for weeks in once_in_weeks] == [
        "warning", "warning", "warning", "severe", "severe", "critical", "critical",
    ]  # fmt: skip


@pytest.mark.parametrize(("hours", "news"), [(0, True), (5.9, True), (6.1, False), (9999, False), (-6.1, False)])
def test_what_is_hours_old_is_no_news(hours: float, news: bool) -> None:
    assert is_news(make_spike(), NOW + timedelta(hours=hours), AlertSettings(horizon_h=6)) is news


@pytest.mark.parametrize(("sent", "told"), [(0, True), (1, True), (2, False), (3, False)])
def test_half_of_the_stories_must_be_new(sent: int, told: bool) -> None:
    stories = [make_story_evidence(title=f"Story {n}") for n in range(4)]
    alert = make_alert(spikes=(make_spike(stories=tuple(stories[:3])), make_spike(key=ALL, stories=tuple(stories[1:]))))
    why = repeats(alert, {story.story_id for story in stories[:sent]} | {"other"})
    assert (why is None) == told
    assert told or f"{sent} of 4" in (why or "")


def test_a_spike_without_stories_is_always_news() -> None:
    assert repeats(make_alert(spikes=(make_spike(stories=()),)), {"other"}) is None


def test_attempts_follow_the_schedule_and_then_stay_a_day_apart() -> None:
    delivery, waits = DELIVERY._replace(expires_at=NOW + timedelta(days=99)), []
    for _ in range(11):
        delivery = retry.failed(delivery, DeliveryError(Reason.TIMEOUT, "slow"), NOW)
        assert delivery.next_attempt_at is not None
        waits.append((delivery.next_attempt_at - NOW).total_seconds())
    schedule = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, 86_400, 86_400]
    assert all(least <= wait <= 1.1 * least for least, wait in zip(schedule, waits, strict=True))
    assert (delivery.attempts, delivery.state, delivery.reason, delivery.detail) == (
        11,
        "pending",
        Reason.TIMEOUT,
        "slow",
    )


def test_a_receiver_that_asks_for_patience_gets_it() -> None:
    error = DeliveryError(Reason.RATE_LIMITED, "429", retry_after_s=4000)
    assert retry.failed(DELIVERY, error, NOW).next_attempt_at == NOW + timedelta(seconds=4000)


@pytest.mark.parametrize("reason", [Reason.AUTH, Reason.CLIENT_ERROR, Reason.TIMEOUT])
def test_what_may_be_put_right_is_tried_again(reason: Reason) -> None:
    after = retry.failed(DELIVERY, DeliveryError(reason, "no"), NOW)
    assert after.state == "pending"
    assert after.next_attempt_at is not None


@pytest.mark.parametrize("reason", [Reason.GONE, Reason.INVALID])
def test_what_cannot_succeed_is_given_up(reason: Reason) -> None:
    after = retry.failed(DELIVERY, DeliveryError(reason, "no"), NOW)
    assert (after.state, after.next_attempt_at, after.attempts) == ("failed", None, 1)


def test_what_would_come_too_late_is_given_up() -> None:
    error = DeliveryError(Reason.TIMEOUT, "slow")
    assert retry.failed(DELIVERY._replace(expires_at=NOW + timedelta(seconds=5)), error, NOW).state == "failed"
    assert retry.failed(DELIVERY._replace(expires_at=NOW + timedelta(seconds=6)), error, NOW).state == "pending"


def test_what_was_accepted_is_over() -> None:
    failed = retry.failed(DELIVERY, DeliveryError(Reason.TIMEOUT, "slow"), NOW)
    after = retry.delivered(failed, NOW)
    assert (after.state, after.attempts, after.delivered_at) == ("delivered", 2, NOW)
    assert (after.next_attempt_at, after.reason, after.detail) == (None, None, None)
