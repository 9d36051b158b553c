"""When a delivery that failed is tried again."""

import random
from datetime import datetime, timedelta

from monitor.errors import DeliveryError, Reason
from monitor.storage.deliveries import Delivery

# Source: the schedule recommended by Standard Webhooks 1.0.0, section "Deliverability and reliability".
_SCHEDULE_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
_JITTER = 0.1
# Where the next attempt would come after the message's end, there is one more, this long before it.
_LAST_TRY = timedelta(minutes=1)


def delivered(delivery: Delivery, now: datetime) -> Delivery:
    """The delivery after an attempt that the other side accepted."""
    return delivery._replace(
        state="delivered",
        attempts=delivery.attempts + 1,
        delivered_at=now,
        next_attempt_at=None,
        reason=None,
        detail=None,
    )


def expired(delivery: Delivery) -> Delivery:
    """The delivery, given up without another attempt: its time passed while nobody was there to try."""
    return delivery._replace(
        state="failed",
        next_attempt_at=None,
        reason=delivery.reason or Reason.TIMEOUT,
        detail=delivery.detail or "not delivered within alerts.expire_h",
    )


def failed(delivery: Delivery, error: DeliveryError, now: datetime) -> Delivery:
    """The delivery after a failed attempt: due again later, or given up where trying again cannot help."""
    attempts = delivery.attempts + 1
    next_at = _next_at(attempts, error.retry_after_s, delivery.expires_at, now)
    # A wrong address or password may be put right before the alert is old; only these two cannot.
    give_up = error.reason in (Reason.GONE, Reason.INVALID) or next_at >= delivery.expires_at
    return delivery._replace(
        state="failed" if give_up else "pending",
        attempts=attempts,
        next_attempt_at=None if give_up else next_at,
        reason=error.reason,
        detail=error.detail,
    )


def _next_at(attempts: int, retry_after_s: float | None, expires_at: datetime, now: datetime) -> datetime:
    """The later of what the schedule says and what the other side asked for, and yet before the message's end."""
    wait_s = _SCHEDULE_S[min(attempts, len(_SCHEDULE_S)) - 1] * (1 + random.uniform(0, _JITTER))
    # However long it asks for: no longer than the message lasts.
    asked_s = min(retry_after_s or 0.0, max(0.0, (expires_at - now).total_seconds()))
    next_at, last = now + timedelta(seconds=max(wait_s, asked_s)), expires_at - _LAST_TRY
    return last if now < last < next_at else next_at
