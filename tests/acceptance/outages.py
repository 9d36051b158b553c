"""Trials of outages: the daemon as processes on Kafka and PostgreSQL, and one part after the other taken away.

By hand: python -m tests.acceptance.outages broker|postgres|smtp|overload|input [SECONDS]
Each prints its figures, and what was logged meanwhile, as JSON.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from monitor.chaos.servers import free_port
from tests.acceptance.bad_input import input_trial
from tests.acceptance.overload import overload_trial
from tests.acceptance.stand import Stand, serving
from tests.brokers import broker, proxied_broker
from tests.postgres import Server, server

PER_S = 10.0
BURST = 60
"""Articles: how many a second appear in the feeds during an outage, and how many are bad news after it."""
PARTS = ("broker", "postgres")


def outage_trial(
    folder: Path,
    seconds: float,
    postgres: Server,
    *,
    parts: Sequence[str] = PARTS,
    quick: bool = False,
) -> dict[str, Any]:
    """One part after the other is away for so long while articles flow; then news breaks, and has to raise an alert.

    The broker goes by a proxy that cuts its connections, the database server is stopped and started.
    """
    with contextlib.ExitStack() as stack:
        ways = {"postgres": (postgres.stop, postgres.start)}
        if "broker" in parts:
            proxy = stack.enter_context(proxied_broker())
            ways["broker"], bootstrap = (proxy.cut, proxy.restore), proxy.url
        else:
            bootstrap = stack.enter_context(broker())
        stand = stack.enter_context(serving(folder, postgres, bootstrap, quick=quick))
        marks = stand.marks()
        with stand.flow(PER_S):
            stand.wait(lambda: stand.stored() >= PER_S, "articles flow")
            away = {part: _away(stand, seconds, *ways[part]) for part in parts}
            stand.break_news(BURST)
            alerted_s = stand.wait(lambda: stand.outlets.webhooks, "an alert on the news that broke then")
        stand.wait(lambda: stand.stored() >= len(stand.published), "everything is stored")
        stand.wait(lambda: not any(stand.lag().values()), "nothing waits on the bus")
        return {"away": away, "alert_on_news_after_that_s": round(alerted_s, 1), **stand.finish(marks)}


def _away(stand: Stand, seconds: float, take: Callable[[], None], give_back: Callable[[], None]) -> dict[str, Any]:
    marks, before = stand.marks(), len(stand.published)
    take()
    taken_at = time.monotonic()
    time.sleep(seconds)
    give_back()
    back_at, due = time.monotonic(), len(stand.published)
    stand.wait(lambda: stand.stored() >= due, "everything published until then is stored")
    return {
        "away_s": round(back_at - taken_at, 1),
        "published_meanwhile": due - before,
        "caught_up_after_s": round(time.monotonic() - back_at, 1),
        "log": stand.logged(marks),
    }


class MailServer:
    """Is not there, answers 451, or accepts."""

    def __init__(self) -> None:
        self.port = free_port()
        self.accepts = False
        self.put_off = 0
        self.ids: Counter[str] = Counter()
        self._controller: Controller | None = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each message."""
        if not self.accepts:
            self.put_off += 1
            return "451 4.3.0 Try again later"
        mail = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        self.ids[str(mail["message-id"])] += 1
        return "250 Kept"

    def listen(self) -> None:
        if self._controller is None:
            self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
            self._controller.start()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.stop()


def smtp_trial(folder: Path, seconds: float, postgres: Server, *, quick: bool = False) -> dict[str, Any]:
    """One mail server is not there when the alert comes, and answers 451 once it is; the other answers 451 from the
    start. After so many seconds both accept."""
    servers = {"absent": MailServer(), "busy": MailServer()}
    channels = "".join(
        f"""
            [alerts.channels.{name}]
            kind = "email"
            host = "127.0.0.1"
            port = {mail.port}
            security = "none"
            sender = "monitor@bank.example"
            to = ["desk@bank.example"]
        """
        for name, mail in servers.items()
    )
    with (
        contextlib.ExitStack() as closing,
        broker() as bootstrap,
        serving(folder, postgres, bootstrap, quick=quick, more=channels) as stand,
    ):
        for mail in servers.values():
            closing.callback(mail.close)
        servers["busy"].listen()
        marks = stand.marks()
        stand.break_news(BURST)
        process = stand.process_of("alerts")
        stand.wait(lambda: process.log.count("notification_failed") >= len(servers), "both mail servers were tried")
        failed_at = time.monotonic()
        servers["absent"].listen()
        hooked_s = stand.wait(lambda: stand.outlets.webhooks, "the webhook came meanwhile")
        time.sleep(max(0.0, failed_at + seconds - time.monotonic()))
        hooks_meanwhile = len(stand.outlets.webhooks)
        for mail in servers.values():
            mail.accepts = True
        accepts_at = time.monotonic()
        stand.wait(lambda: not _undelivered(stand), "every notification is delivered", limit_s=420)
        delivered_s = time.monotonic() - accepts_at
        deliveries = stand.place.ask("deliveries", "--limit", "1000")
        return {
            "refused_s": round(accepts_at - failed_at, 1),
            "delivered_after_it_accepted_s": round(delivered_s, 1),
            "webhook_after_s": round(hooked_s, 1),
            "webhooks_meanwhile": hooks_meanwhile,
            "messages": sum(1 for delivery in deliveries if delivery["channel"] == "hook"),
            "mails": {name: mail.ids.total() for name, mail in servers.items()},
            "mail_ids": {name: len(mail.ids) for name, mail in servers.items()},
            "put_off_with_451": {name: mail.put_off for name, mail in servers.items()},
            "deliveries": [{key: delivery[key] for key in ("channel", "state", "attempts")} for delivery in deliveries],
            **stand.finish(marks),
        }


def _undelivered(stand: Stand) -> list[str]:
    found = [delivery["state"] for delivery in stand.place.ask("deliveries", "--limit", "1000")]
    return [state for state in found if state != "delivered"]


TRIALS: dict[str, tuple[Callable[..., dict[str, Any]], float]] = {
    "broker": (partial(outage_trial, parts=("broker",)), 30.0),
    "postgres": (partial(outage_trial, parts=("postgres",)), 30.0),
    "smtp": (smtp_trial, 120.0),
    "overload": (overload_trial, 180.0),
    "input": (input_trial, 0.0),
}


def _main(name: str = "", seconds: str | None = None) -> None:
    if name not in TRIALS:
        sys.exit(f"expected one of: {', '.join(TRIALS)}; got {name!r}")
    trial, usual_s = TRIALS[name]
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        figures = trial(Path(folder) / name, float(seconds or usual_s), postgres)
    sys.stdout.write(json.dumps({"trial": name, **figures}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
