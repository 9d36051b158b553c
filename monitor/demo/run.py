"""Runs the whole chain on loopback, in a folder of its own, and tells whether it did what it should."""

import asyncio
import base64
import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

from monitor import app
from monitor.claims import claim
from monitor.clock import SystemClock
from monitor.demo.newsday import Day, load
from monitor.demo.servers import Mailbox, Outlets
from monitor.errors import DemoError
from monitor.settings import Settings, of
from monitor.storage.store import Store

_LIMIT_S = 10.0
_START_LIMIT_S = 60.0
_BETWEEN_ITEMS_S = 0.1
_LOOK_S = 0.1
_SETTLE_S = 3.0
_HEADLINES = 8

Say = Callable[[str], None]


class Report(NamedTuple):
    """What arrived. Units: `alert_after_s` seconds from the last item published to the last message received."""

    calm: bool
    published: int
    articles: int
    labelled: int
    emails: int
    webhooks: int
    webhooks_verified: int
    alert_after_s: float | None
    subject: str | None
    mail: str | None
    headlines: list[tuple[str, str, str]]

    @property
    def as_expected(self) -> bool:
        """One mail and one verified webhook in time; on a calm day none."""
        if self.calm:
            return self.emails == self.webhooks == 0
        in_time = self.alert_after_s is not None and self.alert_after_s <= _LIMIT_S
        return self.emails == self.webhooks == self.webhooks_verified == 1 and in_time

    def facts(self) -> dict[str, object]:
        """The figures, without the texts."""
        figures = {name: value for name, value in self._asdict().items() if name not in ("mail", "headlines")}
        return {**figures, "as_expected": self.as_expected}


async def run_demo(*, calm: bool, say: Say = lambda _: None) -> Report:
    """Publishes the day, then the burst (or, `calm`, ordinary news), and waits for what arrives.

    Raises: DemoError, if the day before could not be read within a minute.
    """
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    day = load(SystemClock().now())
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="monitor-demo-"))
        outlets = stack.enter_context(Outlets(secret))
        mailbox = await stack.enter_async_context(Mailbox())
        settings = _settings(Path(folder), day, outlets, mailbox, secret)
        say(f"Four outlets, a mail server and a webhook receiver listen on loopback; {len(day.before)} items are out.")
        for item in day.before:
            outlets.publish(item)
        stack.enter_context(claim(settings.data_dir, app.STAGES))
        core = await stack.enter_async_context(app.open_core(settings, SystemClock()))
        components = await stack.enter_async_context(app.build(core))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(app.serve(components, stop, drain_s=settings.daemon.drain_s))
            try:
                return await _play(day, calm=calm, outlets=outlets, mailbox=mailbox, store=core.store, say=say)
            finally:
                stop.set()


async def _play(day: Day, *, calm: bool, outlets: Outlets, mailbox: Mailbox, store: Store, say: Say) -> Report:
    await _stored(store, len(day.before))
    say(
        "The day so far is read, labelled and counted. Now the news breaks." if not calm else "The day goes on, calmly."
    )
    items = day.calm if calm else day.burst
    for item in items:
        outlets.publish(item)
        await asyncio.sleep(_BETWEEN_ITEMS_S)
    last_published = time.monotonic()
    arrived: float | None = None
    while time.monotonic() - last_published < _LIMIT_S:
        if mailbox.mails and outlets.webhooks:
            arrived = time.monotonic()
            break
        await asyncio.sleep(_LOOK_S)
    await _stored(store, len(day.before) + len(items))
    await asyncio.sleep(_SETTLE_S)  # a second message, were there one, would come now
    totals = await store.articles.totals()
    return Report(
        calm=calm,
        published=len(day.before) + len(items),
        articles=totals["articles"],
        labelled=totals["labelled"],
        emails=len(mailbox.mails),
        webhooks=len(outlets.webhooks),
        webhooks_verified=sum(1 for webhook in outlets.webhooks if webhook.verified),
        alert_after_s=None if arrived is None else round(arrived - last_published, 2),
        subject=str(mailbox.mails[0]["subject"]) if mailbox.mails else None,
        mail=_text(mailbox.mails[0]) if mailbox.mails else None,
        headlines=[
            (item.article.title, item.sentiment or "-", item.topic or f"not labelled ({item.article.language})")
            for item in await store.articles.headlines(limit=_HEADLINES)
        ],
    )


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(preferencelist=("plain",))
    return str(part.get_content()).strip() if part is not None else ""


async def _stored(store: Store, articles: int) -> None:
    """Waits until so many articles are stored."""
    began = time.monotonic()
    while (found := (await store.articles.totals())["articles"]) < articles:
        if time.monotonic() - began > _START_LIMIT_S:
            raise DemoError(f"{found} of {articles} articles were stored within {_START_LIMIT_S:g} s")
        await asyncio.sleep(_LOOK_S)


def _settings(folder: Path, day: Day, outlets: Outlets, mailbox: Mailbox, secret: str) -> Settings:
    """The shipped behaviour at a demo's pace: polls and looks come faster, and no week of watching is asked for."""
    return of(
        {
            "data_dir": folder,
            "http": {"allow_private_addresses": True, "per_host": 4},
            "ingest": {"interval_s": 0.5, "min_interval_s": 0.5},
            "feeds": {outlet: {"url": f"{outlets.url}/{outlet}.xml", "group": "demo"} for outlet in day.outlets},
            "detect": {"tick_s": 0.5},
            "detector": {"warmup_days": 0},
            "alerts": {
                "group_wait_s": 1,
                "allow_private_addresses": True,
                "channels": {
                    "mail": {
                        "kind": "email", "host": "127.0.0.1", "port": mailbox.port, "security": "none",
                        "sender": "monitor@bank.example", "to": ["desk@bank.example"],
                    },
                    "hook": {"kind": "webhook", "url": f"{outlets.url}/hook", "secret": secret},
                },
            },
            "daemon": {"drain_s": 5},
        }
    )  # fmt: skip
