"""What the page of an alert says, cleaned and bounded: the template only lays it out."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from alerts import words
from alerts.cleaning import clean
from alerts.facts import MAX_NAME, AlertFacts, Share, StoryFacts, alert_message, story_facts
from monitor.domain.alerts import Event, Notification
from monitor.storage.alerts import AlertRow
from monitor.storage.silences import Silence

MAX_STORIES = 50
MAX_COMMENT = 500


class Said(NamedTuple):
    """What somebody did about an alert: acknowledged it at a time, or silenced it until then."""

    by: str
    at: datetime
    comment: str


class AlertView(NamedTuple):
    """An alert as its page shows it: what happened, what it rests on, how it stands."""

    facts: AlertFacts
    summary: str
    stories: Sequence[StoryFacts]
    further_stories: int
    sources: Sequence[Share]
    topics: Sequence[Share]
    lasted: str | None
    acknowledged: Said | None
    silenced: Sequence[Said]


def alert_view(row: AlertRow, labels: dict[str, str], silences: Sequence[Silence], now: datetime) -> AlertView:
    """`silences`: those that hold for the alert, which has these labels."""
    alert = row.alert.model_copy(update={"labels": labels})
    # The sentence of the message that told of it.
    told = Notification(
        id=alert.id, event=Event.FIRING, receiver="", channel="", recipient="", created_at=now, alerts=(alert,), about=1
    )
    message = alert_message(told, None)
    stories = list(alert.stories.values())
    return AlertView(
        facts=message.alerts[0],
        summary=message.summary,
        stories=[story_facts(story) for story in stories[:MAX_STORIES]],
        further_stories=max(message.alerts[0].stories, len(stories)) - len(stories[:MAX_STORIES]),
        sources=message.sources,
        topics=message.topics,
        lasted=None if alert.resolved_at is None else words.lasting(alert.resolved_at - alert.opened_at),
        acknowledged=None if row.acked_at is None else said(row.acked_by, row.acked_at, row.ack_comment),
        silenced=[said(silence.author, silence.ends_at, silence.comment) for silence in silences],
    )


def said(by: str | None, at: datetime, comment: str | None) -> Said:
    return Said(clean(by or "", MAX_NAME) or "(nobody named)", at, clean(comment or "", MAX_COMMENT))
