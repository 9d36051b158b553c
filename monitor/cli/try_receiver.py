"""The command that sends a test message."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

import typer

from monitor.alerting import build_channels
from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, json_alone, print_json, print_rows, stop
from monitor.cli.routes import receiver_given
from monitor.clock import SystemClock
from monitor.domain.alerts import Alert, Event, Notification
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Severity, Spike, StoryEvidence
from monitor.domain.windows import Key
from monitor.errors import DeliveryError
from monitor.settings import Settings

_KEY = Key("entity", "test")


class _Tried(NamedTuple):
    """`reason` None: the other side has accepted it."""

    channel: str
    recipient: str
    reason: str | None
    detail: str | None


def try_receiver(
    context: typer.Context,
    receiver: Annotated[str, typer.Argument(help="A receiver of [alerts.receivers], or a channel.")],
    as_json: AsJson = False,
) -> None:
    """Send a message that says it is a test to all recipients of a receiver, at once."""
    settings = load_settings(context)
    if not receiver_given(settings.alerts, receiver).channels:
        stop(f"no channel of the receiver {receiver} is enabled: nobody would hear (alerts.receivers, alerts.channels)")
    with json_alone(as_json):
        tried = asyncio.run(_send(settings, receiver, SystemClock().now()))
    if as_json:
        print_json([{**one._asdict(), "delivered": one.reason is None} for one in tried])
    else:
        print_rows(
            f"A test message to {receiver}",
            ("channel", "recipient", "outcome"),
            (
                (one.channel, one.recipient, "delivered" if one.reason is None else f"{one.reason}: {one.detail}")
                for one in tried
            ),
        )
    if any(one.reason is not None for one in tried):
        raise typer.Exit(1)


async def _send(settings: Settings, receiver: str, now: datetime) -> list[_Tried]:
    """All at once: who does not answer holds up nobody."""
    alert = _made_up(now)
    async with build_channels(settings) as channels:

        async def attempt(channel: str, recipient: str) -> _Tried:
            notification = Notification(
                id=fingerprint("test", receiver, channel, recipient, now.isoformat()),
                event=Event.TEST,
                receiver=receiver,
                channel=channel,
                recipient=recipient,
                created_at=now,
                route="test",
                alerts=(alert,),
                about=1,
            )
            try:
                await channels[channel].send(notification)
            except DeliveryError as error:
                return _Tried(channel, recipient, str(error.reason), error.detail)
            return _Tried(channel, recipient, None, None)

        names = settings.alerts.receivers_resolved()[receiver].channels
        addresses = [(name, recipient) for name in names for recipient in channels[name].recipients]
        return list(await asyncio.gather(*(attempt(*address) for address in addresses)))


def _made_up(now: datetime) -> Alert:
    """An alert that says of itself that it is none."""
    story = StoryEvidence(
        story_id=fingerprint("test", "story"),
        article_id=fingerprint("test", "article"),
        title="This story is made up: a test of how alerts reach you",
        url=None,
        source="monitor",
        published_at=now - timedelta(minutes=5),
        topic="test",
        probability=1.0,
        articles=1,
        sources=1,
    )
    spike = Spike(
        id=fingerprint("test", "spike", now.isoformat()),
        key=_KEY,
        start=now - timedelta(minutes=45),
        end=now,
        detected_at=now,
        observed=1,
        total=1,
        expected=0.1,
        score=4.0,
        severity=Severity.WARNING,
        sources=1,
        detector="test",
        horizon_s=2700,
        stories=(story,),
    )
    labels = {"kind": _KEY.kind, "key": _KEY.name, "severity": str(spike.severity)}
    return Alert(id=fingerprint("test", now.isoformat()), key=_KEY, labels=labels, opened_at=now, spikes=(spike,))
