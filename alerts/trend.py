"""The trend of an alert in numbers and words: what the picture shows, for those who do not see it."""

from datetime import datetime, timedelta

from alerts import words
from alerts.cleaning import isolate
from alerts.facts import key_name
from monitor.domain.alerts import History, Notification
from monitor.domain.spikes import Spike


def in_words(notification: Notification) -> str | None:
    """One sentence without its full stop; None without a history."""
    history, spike = notification.history, headline(notification)
    if history is None or not history.negative:
        return None
    heard = [count for count, heard in zip(history.negative, history.heard, strict=True) if heard]
    each = words.period(timedelta(seconds=history.width_s))
    parts = [
        f"{isolate(key_name(history.key))}: negative stories per {each}, {words.window(history.start, end(history))}:"
        f" at most {max(heard, default=0)}, {sum(heard)} in all"
    ]
    if spike is not None:
        expected = f"{words.amount(level(history, spike))} per {each} expected"
        parts.append(f"{expected} in the window {spike.start:%H:%M} to {spike.end:%H:%M}")
    if missed := len(history.heard) - len(heard):
        parts.append(f"nobody listened for {words.lasting(missed * timedelta(seconds=history.width_s))}")
    return "; ".join(parts)


def headline(notification: Notification) -> Spike | None:
    """The spike that the message is about first."""
    return notification.alerts[0].spikes[0] if notification.alerts else None


def end(history: History) -> datetime:
    """When its last bucket ends."""
    return history.start + timedelta(seconds=history.width_s * len(history.negative))


def level(history: History, spike: Spike) -> float:
    """Expected negative stories per bucket of the history, in the spike's window."""
    return spike.expected * history.width_s / (spike.end - spike.start).total_seconds()
