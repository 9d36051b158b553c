"""Commands about deliveries: what is on its way to whom, and what the other side said."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

import typer

from alerts.channel import ChannelConfig, fingerprint
from alerts.words import minute
from monitor.cli.alert_words import delivery_document
from monitor.cli.context import settings as load_settings
from monitor.cli.context import with_store
from monitor.cli.output import (
    THE_SAME,
    AsJson,
    Limit,
    console,
    moment,
    print_facts,
    print_json,
    print_rows,
    stop,
    the_one,
)
from monitor.cli.read import Since
from monitor.clock import SystemClock
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings
from monitor.storage.deliveries import Delivery, DeliveryState, Endpoint
from monitor.storage.store import Store

app = typer.Typer(help="Deliveries of messages, the newest first.", invoke_without_command=True)

State = Annotated[DeliveryState | None, typer.Option(help="Only those that are so.")]
Channel = Annotated[str | None, typer.Option(help="Only by this channel.")]


class _Listed(NamedTuple):
    deliveries: list[Delivery]
    asked: list[Endpoint]


@app.callback()
@app.command("list", help=THE_SAME)
def list_deliveries(
    context: typer.Context,
    limit: Limit = 20,
    since: Since = None,
    state: State = None,
    channel: Channel = None,
    as_json: AsJson = False,
) -> None:
    """Deliveries of messages, the newest first."""
    if context.invoked_subcommand is not None:
        return
    start = moment("--since", since, SystemClock().now())

    async def ask(store: Store) -> _Listed:
        found = await store.deliveries.latest(limit=limit, state=state, channel=channel, since=start)
        return _Listed(found, _in_force(await store.deliveries.endpoints()))

    listed, asked = with_store(context, ask)
    if as_json:
        print_json([delivery_document(one) for one in listed])
        return
    print_rows(
        "Deliveries",
        ("id", "made (UTC)", "event", "receiver", "channel", "recipient", "state", "attempts", "next (UTC)", "why"),
        (
            (
                one.notification.id[:8],
                one.notification.created_at,
                str(one.notification.event),
                one.notification.receiver,
                one.notification.channel,
                one.notification.recipient,
                one.state,
                one.attempts,
                one.next_attempt_at,
                None if one.reason is None else f"{one.reason}: {one.detail}",
            )
            for one in listed
        ),
    )
    for line in _asked_for(asked):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _asked_for(endpoints: Iterable[Endpoint]) -> list[str]:
    """What the other side of channels asked for."""
    lines = []
    for one in endpoints:
        detail = f" ({one.detail})" if one.detail else ""
        if one.disabled_at is not None:
            told = f"Channel {one.channel} is disabled since {minute(one.disabled_at)}{detail}"
            lines.append(f"{told}; `monitor deliveries enable {one.channel}` tries it again.")
        elif one.not_before is not None:
            told = f"Channel {one.channel} is left alone until {minute(one.not_before)}{detail}, as it asked"
            lines.append(f"{told}; `monitor deliveries enable {one.channel}` has it tried at once.")
    return lines


def _in_force(endpoints: Mapping[str, Endpoint]) -> list[Endpoint]:
    """Those that want nothing now, or nothing any more."""
    now = SystemClock().now()
    return [one for one in endpoints.values() if one.disabled_at or (one.not_before and one.not_before > now)]


@app.command()
def show(
    context: typer.Context,
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")],
    as_json: AsJson = False,
) -> None:
    """A delivery, and what it tells of."""
    found = with_store(context, lambda store: _find(store, delivery_id))
    notification = found.notification
    if as_json:
        print_json({**delivery_document(found), "notification_body": notification.model_dump(exclude={"history"})})
        return
    facts: dict[str, Any] = {
        "event": str(notification.event),
        "receiver": notification.receiver,
        "route": notification.route,
        "channel": notification.channel,
        "recipient": notification.recipient,
        "made (UTC)": notification.created_at,
        "state": found.state,
        "attempts": found.attempts,
        "delivered (UTC)": found.delivered_at,
        "next attempt (UTC)": found.next_attempt_at,
        "given up (UTC)": found.expires_at,
        "why": None if found.reason is None else f"{found.reason}: {found.detail}",
        "answers message": notification.thread,
    }
    print_facts(f"Delivery {notification.id}", facts)
    print_rows(
        "Alerts",
        ("id", "key", "severity", "made it go"),
        (
            (alert.id[:8], str(alert.key), str(alert.severity), place < notification.about)
            for place, alert in enumerate(notification.alerts)
        ),
    )


async def _find(store: Store, delivery_id: str) -> Delivery:
    found = await store.deliveries.get(delivery_id)
    return the_one("delivery", "monitor deliveries", delivery_id, found, lambda one: one.notification.id)


@app.command()
def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Their ids, or the start of them.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that were given up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have deliveries attempted at once by the daemon, those that were given up too."""
    if bool(ids) == failed:
        raise ConfigError("command line", [Mistake("ID", "expected ids of deliveries, or --failed")])
    settings = load_settings(context)
    now = SystemClock().now()
    expires_at = now + timedelta(hours=settings.alerts.expire_h)

    async def ask(store: Store) -> tuple[int, list[Endpoint]]:
        if failed:
            channels = await store.deliveries.channels("failed")
            count = await store.deliveries.retry_failed(now, expires_at)
        else:
            wanted = [await _find(store, one) for one in ids or ()]
            if done := [one.notification.id[:8] for one in wanted if one.state == "delivered"]:
                stop(f"delivered already: {', '.join(done)}")
            channels = {one.notification.channel for one in wanted}
            count = await store.deliveries.retry([one.notification.id for one in wanted], now, expires_at)
        asked = _in_force(await store.deliveries.endpoints())
        return count, [one for one in asked if one.channel in channels and _is_of_now(one, settings)]

    count, asked = with_store(context, ask)
    if as_json:
        held = [{"channel": one.channel, "disabled_at": one.disabled_at, "not_before": one.not_before} for one in asked]
        print_json({"retried": count, "held": held})
        return
    console.print(f"{count} put before the daemon again.", highlight=False)
    for line in _asked_for(asked):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _is_of_now(endpoint: Endpoint, settings: Settings) -> bool:
    """Whether the channel is set as it was when the other side asked."""
    config = settings.alerts.channels.get(endpoint.channel)
    return isinstance(config, ChannelConfig) and fingerprint(config) == endpoint.fingerprint


@app.command()
def enable(
    context: typer.Context, channel: Annotated[str, typer.Argument(help="A channel that the other side disabled.")]
) -> None:
    """Forget that the other side of a channel wanted no more, or wanted to be left alone."""
    known = load_settings(context).alerts.channels
    now = SystemClock().now()
    if not with_store(context, lambda store: store.deliveries.enable(channel, now)):
        if channel not in known:
            names = ", ".join(sorted(known)) or "(there is none)"
            raise ConfigError(
                "command line", [Mistake("CHANNEL", f'unknown channel "{channel}"; expected one of: {names}')]
            )
        stop(f"nothing keeps channel {channel!r} from delivering; `monitor deliveries` names those that are disabled")
    console.print(
        f"Channel {channel} is tried again, what waits for it at once. `monitor deliveries retry --failed` sends what"
        " was given up.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
