"""Two daemons dispatch from one PostgreSQL database, and are killed again and again: everything is told once."""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.domain.windows import Key
from monitor.storage.alerts import LIVE
from monitor.storage.store import Store
from tests.acceptance.command import Daemon, Workplace, until
from tests.acceptance.dispatching import Hook, times
from tests.acceptance.stand import SECRET
from tests.factories import make_spike, make_story_evidence
from tests.postgres import Server, server

ALERTS = 1000
KILLS = 4
LIMIT_S = 300.0
RECEIVERS = ("desk", "chat")
_AT_ONCE = 10

CONFIG = """
    [database]
    url = "{url}"
    [alerts]
    group_by = ["key"]
    group_wait_s = 0
    allow_private_addresses = true
    [alerts.route]
    receiver = "desk"
    [[alerts.route.routes]]
    receiver = "desk"
    continue = true
    [[alerts.route.routes]]
    receiver = "chat"
"""


@pytest.fixture
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


async def _fire(url: str) -> set[str]:
    """Alerts of keys of their own; their ids."""
    store = await Store.open(url)
    now = SystemClock().now()

    async def take(number: int) -> str:
        spike = make_spike(
            key=Key("entity", f"Company {number}"),
            start=now - timedelta(minutes=30),
            end=now,
            detected_at=now,
            stories=(make_story_evidence(title=f"Company {number} halts payments"),),
        )
        return (await store.alerts.take(spike, LIVE, timedelta(minutes=30)))[0]

    try:
        ids: set[str] = set()
        for first in range(0, ALERTS, _AT_ONCE):
            ids.update(await asyncio.gather(*(take(number) for number in range(first, first + _AT_ONCE))))
        return ids
    finally:
        await store.aclose()


async def _states(url: str) -> Counter[tuple[str, str]]:
    store = await Store.open(url)
    try:
        found = await store.deliveries.latest(limit=10 * ALERTS)
        return Counter((one.notification.channel, one.state) for one in found)
    finally:
        await store.aclose()


def test_each_receiver_is_told_each_alert_once(postgres: Server, tmp_path: Path) -> None:
    url = postgres.url.render_as_string(hide_password=False)
    chance = random.Random(6)
    with contextlib.ExitStack() as stack:
        hook = stack.enter_context(Hook(SECRET))
        channels = "".join(
            f'[alerts.channels.{name}]\nkind = "webhook"\nurl = "{hook.url}/{name}"\nsecret = "{SECRET}"\n'
            for name in RECEIVERS
        )
        places = [Workplace(tmp_path / name, CONFIG.format(url=url) + channels) for name in ("one", "two")]
        ids = asyncio.run(_fire(url))
        began = time.monotonic()
        running = [stack.enter_context(Daemon(place, "alerts")) for place in places]

        def received() -> int:
            return sum(len(times(hook.requests(f"/{name}"))) for name in RECEIVERS)

        def reach(count: int) -> None:
            while received() < count:
                assert time.monotonic() - began < LIMIT_S, f"{received()} of {count}"
                assert all(daemon.process.poll() is None for daemon in running), [daemon.log for daemon in running]
                time.sleep(0.01)

        reached = []
        moments = sorted(chance.sample(range(len(RECEIVERS) * ALERTS), KILLS))
        # One time it is the one that stands by: it is to come back unnoticed.
        spared = chance.randrange(KILLS)
        for kill, at in enumerate(moments):
            reach(at)
            leads = [daemon.log.count('"lease_taken"') > daemon.log.count('"lease_lost"') for daemon in running]
            number = leads.index(kill != spared)
            running[number].process.kill()
            running[number].process.wait()
            reached.append(
                (at, "the one that acts" if leads[number] else "the other", round(time.monotonic() - began, 1))
            )
            running[number] = stack.enter_context(Daemon(places[number], "alerts"))
        reach(len(RECEIVERS) * ALERTS)
        took_s = time.monotonic() - began
        # What has come to the receiver is not always written down by then.
        delivered = {(name, "delivered"): ALERTS for name in RECEIVERS}
        until(lambda: asyncio.run(_states(url)), "all are written down", lambda states: states == delivered)
        assert [daemon.stop() for daemon in running] == [0, 0]
        repeated = {}
        for name in RECEIVERS:
            requests = hook.requests(f"/{name}")
            assert [request for request in requests if not request.is_verified] == []
            counted = times(requests)
            told = [json.loads(body)["data"]["alerts"] for body in {one.id: one.body for one in requests}.values()]
            assert len(counted) == ALERTS
            assert {alert["id"] for alerts in told for alert in alerts} == ids
            assert all(len(alerts) == 1 for alerts in told)
            assert len({(request.id, request.body) for request in requests}) == ALERTS
            repeated[name] = counted.total() - len(counted)
            # Only an attempt under way at a kill is made again, and a channel makes one at a time.
            assert repeated[name] <= KILLS
        sys.stdout.write(
            f"{took_s:.1f} s; kills {reached}; repeated under one id: {repeated}; cut off: {hook.cut_off}\n"
        )
