"""SIGHUP: what the file says of alerts holds from then on, without a restart; a file that is wrong changes nothing."""

import json
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.domain.windows import Key
from monitor.storage.alerts import LIVE
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from tests.acceptance.command import Daemon, Workplace, until
from tests.acceptance.dispatching import Hook
from tests.acceptance.stand import SECRET
from tests.factories import make_spike, make_story_evidence

BEFORE = """
    [alerts]
    group_wait_s = 0
    group_by = ["key"]
    allow_private_addresses = true
    [alerts.route]
    receiver = "desk"
    [alerts.channels.desk]
    kind = "webhook"
    url = "{url}/desk"
    secret = "{secret}"
"""

CHAT = """
    [[alerts.route.routes]]
    matchers = ['key="Second Bank"']
    receiver = "chat"
    [alerts.channels.chat]
    kind = "webhook"
    url = "{url}/chat"
    secret = "{secret}"
"""


async def _fire(place: Workplace, name: str) -> None:
    store = await Store.open(sqlite_url(place.folder / "data/monitor.sqlite3"))
    now = SystemClock().now()
    spike = make_spike(
        key=Key("entity", name),
        start=now - timedelta(minutes=30),
        end=now,
        detected_at=now,
        stories=(make_story_evidence(title=f"{name} halts withdrawals"),),
    )
    try:
        await store.alerts.take(spike, LIVE, timedelta(minutes=30))
    finally:
        await store.aclose()


def _told(hook: Hook, path: str) -> list[str]:
    """The keys of which a receiver was told, in order."""
    bodies = [json.loads(request.body) for request in hook.requests(path)]
    return [alert["name"] for body in bodies for alert in body["data"]["alerts"]]


def _lines(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """What was logged of an event."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(SECRET) as hook:
        yield hook


@pytest.fixture
def write(hook: Hook, tmp_path: Path) -> Callable[[str], Workplace]:
    """Writes config.toml anew."""
    return lambda text: Workplace(tmp_path, text.format(url=hook.url, secret=SECRET))


async def test_a_new_channel_and_route_hold_without_a_restart(hook: Hook, write: Callable[[str], Workplace]) -> None:
    place = write(BEFORE)
    with Daemon(place, "alerts") as daemon:
        daemon.logged('"event": "started"')
        await _fire(place, "First Bank")
        until(lambda: _told(hook, "/desk") == ["First Bank"], "the first is told")

        write(BEFORE + CHAT)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: _lines(daemon, "reloaded"), "it has read the file")
        assert _lines(daemon, "reloaded")[0]["channels"] == ["chat", "desk"]
        await _fire(place, "Second Bank")
        until(lambda: _told(hook, "/chat"), "the second is told by the new channel")
        await _fire(place, "Third Bank")
        until(lambda: len(_told(hook, "/desk")) == 2, "the third goes where no other route leads")
        assert _told(hook, "/chat") == ["Second Bank"]
        assert _told(hook, "/desk") == ["First Bank", "Third Bank"]
        assert all(request.is_verified for request in hook.requests("/desk") + hook.requests("/chat"))
        assert daemon.stop() == 0, daemon.log
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ('[[alerts.route.routes]]\nreceiver = "caht"', 'alerts.route.routes.0.receiver: unknown receiver "caht"'),
        ("[alerts.channels.chat]\nkind = 7", "alerts.channels.chat"),
        ("[alerts", "config.toml"),
    ],
)
async def test_a_file_that_is_wrong_changes_nothing(
    wrong: str, key: str, hook: Hook, write: Callable[[str], Workplace]
) -> None:
    place = write(BEFORE)
    with Daemon(place, "alerts") as daemon:
        daemon.logged('"event": "started"')
        write(f"{BEFORE}\n{wrong}\n")
        daemon.process.send_signal(signal.SIGHUP)
        (refused,) = until(lambda: _lines(daemon, "reload_refused"), "it has read the file")
        assert key in refused["error"]
        assert SECRET not in daemon.log
        await _fire(place, "First Bank")
        until(lambda: _told(hook, "/desk") == ["First Bank"], "alerts go on as before")
        write(BEFORE + CHAT)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: _lines(daemon, "reloaded"), "the file that was put right is taken")
        assert daemon.stop() == 0, daemon.log
        assert "Traceback" not in daemon.log


def test_what_else_has_changed_is_said_to_need_a_restart(write: Callable[[str], Workplace]) -> None:
    with Daemon(write(BEFORE), "alerts") as daemon:
        daemon.logged('"event": "started"')
        write(f"{BEFORE}\n[detect]\ntick_s = 7\n[daemon]\ndrain_s = 9\n")
        daemon.process.send_signal(signal.SIGHUP)
        (needed,) = until(lambda: _lines(daemon, "restart_needed"), "it has read the file")
        assert needed["sections"] == ["daemon", "detect"]
        until(lambda: _lines(daemon, "reloaded"), "what is said of alerts holds")
        assert daemon.stop() == 0, daemon.log


def test_without_alerts_it_is_no_end_either(write: Callable[[str], Workplace]) -> None:
    with Daemon(write(BEFORE), "aggregate") as daemon:
        daemon.logged('"event": "started"')
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: _lines(daemon, "reloaded"), "it has read the file")
        assert daemon.process.poll() is None
        assert daemon.stop() == 0, daemon.log
