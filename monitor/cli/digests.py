"""The command that shows a digest before it is sent."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from alerts.digests import Digests, due_after, is_quiet
from alerts.evaluate import Policy
from alerts.render import Renderer
from monitor import app as application
from monitor.alert_settings import Receiver
from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, errors, moment, print_json
from monitor.cli.routes import receiver_given, recipients
from monitor.clock import SystemClock
from monitor.domain.alerts import Digest, Notification
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings

app = typer.Typer(help="Digests: what a receiver is told at a set time.", no_args_is_help=True)


@app.command()
def preview(
    context: typer.Context,
    receiver: Annotated[str, typer.Argument(help="A receiver of [alerts.receivers], or a channel.")],
    at: Annotated[str | None, typer.Option(help="As it was at that time (UTC); default: now.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the digest that a receiver would get now; nothing is sent or stored."""
    settings = load_settings(context)
    wanted = receiver_given(settings.alerts, receiver)
    now = SystemClock().now()
    then = moment("--at", at, now) or now
    if then > now:
        raise ConfigError("command line", [Mistake("--at", "expected a time that is past")])
    digest, notification, heard_by = asyncio.run(_made(settings, receiver, then))
    # Whoever has a link can use it, in the name of whom it was sent to: what is shown to others has none.
    render = Renderer()
    if html is not None:
        try:
            html.write_text(render.html(notification), encoding="utf-8")
        except OSError as error:
            expected = f"a file that can be written: {error.strerror or error}"
            raise ConfigError("command line", [Mistake("--html", expected)]) from error
    goes_to_nobody = _why_not_sent(wanted, digest, heard_by)
    if as_json:
        print_json(
            {
                "receiver": receiver,
                "digest": wanted.digest,
                "next_due": None if wanted.digest == "off" else due_after(wanted, now),
                "not_sent": goes_to_nobody,
                "recipients": heard_by,
                "subject": render.subject(notification),
                "text": render.text(notification),
                "body": render.payload(notification),
            }
        )
        return
    typer.echo(f"{render.subject(notification)}\n\n{render.text(notification).strip()}")
    if goes_to_nobody:
        errors.print(f"not sent: {goes_to_nobody}", style="yellow", markup=False, highlight=False, soft_wrap=True)


async def _made(settings: Settings, name: str, at: datetime) -> tuple[Digest, Notification, list[str]]:
    """The digest, how it would go to the first who hears, and all who would, as "channel to recipient"."""
    policy = Policy(settings.alerts, await recipients(settings))
    async with application.open_store(settings) as store:
        digest, notification = await Digests(store, policy).preview(name, at)
    return digest, notification, [f"{one.channel} to {one.recipient}" for one in policy.addresses(name)]


def _why_not_sent(receiver: Receiver, digest: Digest, heard_by: list[str]) -> str | None:
    if receiver.digest == "off":
        return 'it asks for no digest; this is what digest = "daily" would tell it'
    if not heard_by:
        return "no channel of it is enabled"
    if is_quiet(digest) and not receiver.digest_when_quiet:
        return "nothing happened, and digest_when_quiet is false"
    return None
