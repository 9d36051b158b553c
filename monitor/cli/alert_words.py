"""Alerts and their deliveries in words, and as documents."""

from collections.abc import Iterable, Sequence
from typing import Any

from alerts.words import VERDICTS, minute
from monitor.cli.output import errors
from monitor.domain.alerts import Alert, Verdict
from monitor.domain.names import as_named
from monitor.domain.windows import KeyKind
from monitor.storage.alerts import AlertRow
from monitor.storage.deliveries import Delivery
from monitor.storage.silences import Silence
from monitor.storage.store import Store
from monitor.storage.timeline import keys_named
from monitor.why_not import Heard


async def name_meant(store: Store, kinds: Sequence[KeyKind] | None, name: str) -> str:
    """The name of a key as articles are counted on it, where nothing was counted on it as it is typed; says so.

    Raises: StoreError.
    """
    counted = as_named(name)
    may_be_entity = kinds is None or "entity" in kinds
    if counted == name or not may_be_entity or await keys_named(store, name, kinds):
        return name
    told = f"read as entity:{counted}; names are kept without legal forms and titles"
    errors.print(told, markup=False, highlight=False, soft_wrap=True)
    return counted


def silenced(silence: Silence) -> str:
    return f"silenced until {minute(silence.ends_at)} by {silence.author}: {silence.comment}"


def _state(row: AlertRow) -> str:
    return "resolved" if row.closed_at else "quiet" if row.alert.resolved_at else "firing"


def state(row: AlertRow) -> str:
    """firing, quiet since then, or resolved; and who has acknowledged it."""
    told, at = _state(row), row.alert.resolved_at
    if at is not None:
        told = f"{told}{' since' if told == 'quiet' else ''} {at:%m-%d %H:%M}"
    return told if row.acked_by is None else f"{told}, acknowledged by {row.acked_by}"


def keys(alert: Alert) -> str:
    """Its key; an older release's alert may have several."""
    return ", ".join(dict.fromkeys([str(alert.key), *(str(spike.key) for spike in alert.spikes)]))


def short_verdict(heard: Heard) -> str:
    """One word: what was told and has nothing new is still told."""
    return Verdict.SENT if heard.verdict is Verdict.UNCHANGED and heard.told_at is not None else heard.verdict


def verdict(heard: Heard) -> str:
    """What became of an alert on its way to a receiver, with the deliveries where a message went."""
    told = f"told {minute(heard.told_at)}" if heard.told_at is not None else None
    if heard.verdict is Verdict.SENT and told is not None:
        return f"{told}{_delivered(heard.deliveries)}"
    words = VERDICTS[heard.verdict]
    if heard.detail:
        words = f"{words} ({heard.detail})"
    return words if told is None else f"{told}{_delivered(heard.deliveries)}; now: {words}"


def _delivered(deliveries: Iterable[Delivery]) -> str:
    """How the deliveries of messages went, worst first; empty where there are none."""
    by_state: dict[str, list[str]] = {"failed": [], "pending": [], "delivered": []}
    for one in deliveries:
        line = f"{one.notification.channel} to {one.notification.recipient}"
        by_state[one.state].append(line if one.reason is None else f"{line}: {one.reason}: {one.detail}")
    words = {"failed": "delivery failed", "pending": "on its way", "delivered": "delivered"}
    told = [f"{words[name]} ({', '.join(dict.fromkeys(lines))})" for name, lines in by_state.items() if lines]
    return f", {', '.join(told)}" if told else ""


def delivery_line(delivery: Delivery) -> str:
    """One delivery: to whom, how far, and why not."""
    line = f"{delivery.notification.channel} to {delivery.notification.recipient}: {delivery.state}"
    if delivery.reason is None:
        return line
    again = f", again at {delivery.next_attempt_at:%H:%M:%S}" if delivery.next_attempt_at else ""
    return f"{line} ({delivery.reason}: {delivery.detail}; attempt {delivery.attempts}{again})"


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    notification = delivery.notification
    return {
        "notification": notification.id,
        "event": notification.event,
        "receiver": notification.receiver,
        "channel": notification.channel,
        "recipient": notification.recipient,
        "created_at": notification.created_at,
        **{name: value for name, value in delivery._asdict().items() if name != "notification"},
    }


def heard_document(heard: Heard) -> dict[str, Any]:
    return {
        "receiver": heard.group.receiver,
        "route": heard.group.route,
        "group": heard.group.labels,
        "verdict": heard.verdict,
        "detail": heard.detail,
        "since": heard.since,
        "told_at": heard.told_at,
        "deliveries": [one.notification.id for one in heard.deliveries],
    }


def silence_document(silence: Silence | None) -> dict[str, Any] | None:
    return silence and {**silence._asdict(), "matchers": [str(matcher) for matcher in silence.matchers]}


def alert_document(
    row: AlertRow, heard: Iterable[Heard], deliveries: Iterable[Delivery], silence: Silence | None
) -> dict[str, Any]:
    """An alert with how it stands with each receiver."""
    standings = [heard_document(one) for one in heard]
    facts = {name: value for name, value in row._asdict().items() if name != "alert"}
    return {
        **row.alert.model_dump(),
        "severity": row.alert.severity,
        "state": _state(row),
        **facts,
        "silence": silence_document(silence),
        "receivers": standings,
        "deliveries": [delivery_document(one) for one in deliveries],
    }
