"""When a delivery that failed is tried again, and when it is given up."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import retry
from monitor.errors import DeliveryError, Reason
from monitor.storage.deliveries import Delivery
from tests.factories import NOW, make_notification

DELIVERY = Delivery(make_notification(), "pending", 0, NOW, NOW + timedelta(hours=72), None, None, None)
SCHEDULE_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


def test_attempts_follow_the_schedule_and_then_stay_a_day_apart() -> None:
    delivery, waits = DELIVERY._replace(expires_at=NOW + timedelta(days=99)), []
    for _ in range(11):
        delivery = retry.failed(delivery, DeliveryError(Reason.TIMEOUT, "slow"), NOW)
        assert delivery.next_attempt_at is not None
        waits.append((delivery.next_attempt_at - NOW).total_seconds())
    schedule = [*SCHEDULE_S, 86_400, 86_400]
    assert all(least <= wait <= 1.1 * least for least, wait in zip(schedule, waits, strict=True))
    assert (delivery.attempts, delivery.state, delivery.reason, delivery.detail) == (
        11,
        "pending",
        Reason.TIMEOUT,
        "slow",
    )


def test_attempts_of_many_do_not_come_at_once() -> None:
    waits = {retry.failed(DELIVERY, DeliveryError(Reason.TIMEOUT, "slow"), NOW).next_attempt_at for _ in range(20)}
    assert len(waits) > 1


def test_a_receiver_that_asks_for_patience_gets_it() -> None:
    error = DeliveryError(Reason.RATE_LIMITED, "429", retry_after_s=4000)
    assert retry.failed(DELIVERY, error, NOW).next_attempt_at == NOW + timedelta(seconds=4000)


def test_a_receiver_that_asks_for_less_than_the_schedule_waits_for_the_schedule() -> None:
    error = DeliveryError(Reason.RATE_LIMITED, "429", retry_after_s=60)
    after = retry.failed(DELIVERY._replace(attempts=2), error, NOW)
    assert after.next_attempt_at is not None
    assert after.next_attempt_at >= NOW + timedelta(seconds=1800)


def test_whoever_asks_for_years_is_asked_once_more_before_the_end() -> None:
    error = DeliveryError(Reason.RATE_LIMITED, "429", retry_after_s=10 * 365 * 86_400)
    after = retry.failed(DELIVERY, error, NOW)
    assert (after.state, after.next_attempt_at) == ("pending", DELIVERY.expires_at - timedelta(minutes=1))


@given(
    attempts=st.integers(0, 12),
    retry_after_s=st.none() | st.floats(0, 1e9),
    left_s=st.floats(1, 1e6),
    reason=st.sampled_from(list(Reason)),
)
def test_a_delivery_is_due_as_scheduled_or_a_minute_before_its_end_or_is_given_up(
    attempts: int, retry_after_s: float | None, left_s: float, reason: Reason
) -> None:
    delivery = DELIVERY._replace(attempts=attempts, expires_at=NOW + timedelta(seconds=left_s))
    after = retry.failed(delivery, DeliveryError(reason, "no", retry_after_s=retry_after_s), NOW)
    assert after.attempts == attempts + 1
    assert (after.state == "pending") == (after.next_attempt_at is not None)
    if after.next_attempt_at is not None:
        scheduled = SCHEDULE_S[min(attempts, len(SCHEDULE_S) - 1)]
        soonest = min(NOW + timedelta(seconds=scheduled), delivery.expires_at - timedelta(minutes=1))
        assert max(NOW, soonest) <= after.next_attempt_at < delivery.expires_at
    elif reason not in (Reason.GONE, Reason.INVALID):  # what is given up had no time for another attempt
        assert left_s <= 60


@given(lasts_s=st.floats(61, 1e6))
def test_whoever_is_away_for_nearly_as_long_as_a_message_lasts_still_gets_it(lasts_s: float) -> None:
    delivery, tried_at = DELIVERY._replace(expires_at=NOW + timedelta(seconds=lasts_s)), NOW
    while (after := retry.failed(delivery, DeliveryError(Reason.UNREACHABLE, "no"), tried_at)).state == "pending":
        assert after.next_attempt_at is not None
        delivery, tried_at = after, after.next_attempt_at
    assert tried_at >= delivery.expires_at - timedelta(minutes=1)


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
