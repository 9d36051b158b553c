"""Digests: each once, at its time by the receiver's clock, with what was told and what was withheld."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.digests import Digests, due_after, due_before
from monitor.alert_settings import AlertSettings, Receiver
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Notification, Verdict
from monitor.domain.record import utc
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from monitor.storage.store import Store
from tests.chain import BANKS, OIL, Chain, Inbox, counted, make_policy, make_settings
from tests.factories import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZONES = [
    "UTC", "Europe/London", "America/New_York", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kolkata",
]  # fmt: skip


def _settings(**overrides: Any) -> AlertSettings:
    return make_settings(receivers={"desk": {"channels": ["desk"], "digest": "daily", **overrides}})


def _digests(store: Store, settings: AlertSettings) -> Digests:
    return Digests(store, make_policy(settings, {"desk": Inbox(recipients=("a", "b"))}))


async def _written(store: Store, recipient: str = "a") -> list[Notification]:
    found = [one.notification for one in await store.deliveries.latest(limit=999)]
    return sorted((one for one in found if one.recipient == recipient), key=lambda one: one.created_at)


@given(
    zone=st.sampled_from(ZONES), hours=st.floats(0, 40 * 366 * 24), hour=st.integers(0, 23),
    minute=st.sampled_from([0, 15, 30, 59]), how_often=st.sampled_from(["hourly", "daily"]),
)  # fmt: skip
def test_each_digest_begins_where_the_one_before_it_ended(
    zone: str, hours: float, hour: int, minute: int, how_often: str
) -> None:
    receiver = Receiver.model_validate(
        {"channels": [], "digest": how_often, "digest_at": f"{hour:02}:{minute:02}", "time_zone": zone}
    )
    moments = [utc(2000, 1, 1) + hours * HOUR]
    for _ in range(8):
        moments.append(due_after(receiver, moments[-1]))
    for before, due in pairwise(moments[1:]):
        assert before < due
        assert due_before(receiver, due) == before
        assert due_after(receiver, due - timedelta.resolution) == due
    if how_often == "daily":
        days = [due.astimezone(ZoneInfo(zone)).date() for due in moments[1:]]
        assert days == [days[0] + number * DAY for number in range(8)]


@pytest.mark.parametrize("begin", [date(2026, 3, 27), date(2026, 10, 23)])
@pytest.mark.parametrize(("zone", "at"), [("Europe/London", "07:30"), ("Europe/London", "01:30"),
                                          ("America/New_York", "02:30"), ("Africa/Cairo", "00:15")])  # fmt: skip
async def test_there_is_one_a_day_whatever_the_clocks_do(store: Store, zone: str, at: str, begin: date) -> None:
    settings = _settings(digest_at=at, time_zone=zone)
    local = ZoneInfo(zone)
    now = datetime(begin.year, begin.month, begin.day, 12, tzinfo=local).astimezone(UTC)
    for _ in range(6 * 24 * 4):
        await _digests(store, settings).write_due(now, None)  # restarted each time
        now += timedelta(minutes=15)
    written = await _written(store)
    assert [one.created_at.astimezone(local).date() for one in written] == [begin + n * DAY for n in range(1, 7)]
    assert len({one.id for one in written}) == 6
    spans = [(one.digest.start, one.digest.end) for one in written if one.digest is not None]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    hour, minute = map(int, at.split(":"))
    usual = [one.created_at.astimezone(local) for one in written]
    assert sum((one.hour, one.minute) == (hour, minute) for one in usual) >= 5


async def test_the_first_comes_at_its_time_and_each_goes_to_every_recipient(store: Store) -> None:
    digests = _digests(store, _settings(digest_at="07:30", time_zone="Europe/London"))
    for wait, count in ((timedelta(), 0), (HOUR, 0), (20 * HOUR, 0), (20.5 * HOUR, 1), (22 * HOUR, 1)):
        await digests.write_due(NOW + wait, None)
        assert len(await _written(store)) == count
    (told,) = await _written(store)
    (other,) = await _written(store, "b")
    assert (told.event, told.receiver, told.alerts, told.thread) == (Event.DIGEST, "desk", (), None)
    assert told.id != other.id
    assert told.digest == other.digest
    assert told.digest is not None
    assert (told.digest.start, told.digest.end) == (utc(2026, 3, 4, 7, 30), utc(2026, 3, 5, 7, 30))


async def test_an_hourly_one_comes_at_each_full_hour(store: Store) -> None:
    digests = _digests(store, _settings(digest="hourly"))
    start = NOW + timedelta(minutes=10)
    counts = [await digests.write_due(start + timedelta(minutes=10 * number), None) for number in range(18)]
    assert counts == [0, 0, 0, 0, 0, 1] * 3


async def test_of_those_that_were_missed_the_last_is_sent(store: Store) -> None:
    settings = _settings(digest="hourly")
    assert await _digests(store, settings).write_due(NOW, None) == 0
    late = NOW + 7.5 * HOUR
    assert [await _digests(store, settings).write_due(late, None) for _ in range(3)] == [1, 0, 0]
    (told,) = await _written(store)
    assert told.digest is not None
    assert (told.digest.start, told.digest.end) == (NOW + 6 * HOUR, NOW + 7 * HOUR)
    assert await _digests(store, settings).write_due(NOW + 8 * HOUR, None) == 1


@pytest.mark.parametrize(("when_quiet", "count"), [(True, 2), (False, 1)])
async def test_where_nothing_happened_it_is_sent_if_so_set(store: Store, when_quiet: bool, count: int) -> None:
    digests = _digests(store, _settings(digest="hourly", digest_when_quiet=when_quiet))
    await digests.write_due(NOW - HOUR, None)
    await counted(store, BANKS, {NOW - 0.5 * HOUR: 3})
    for number in range(2):
        await digests.write_due(NOW + number * HOUR, None)
    assert len(await _written(store)) == count


async def test_it_shows_the_watched_keys_now_and_before(store: Store) -> None:
    settings = _settings(digest="hourly", digest_keys=["all", "topic:Financials", "entity:Nobody"])
    for key in (ALL, BANKS, OIL):
        await counted(store, key, {NOW - 0.5 * HOUR: 5, NOW - 1.5 * HOUR: 2, NOW: 9, NOW - 3 * HOUR: 9})
    digests = _digests(store, settings)
    await digests.write_due(NOW - HOUR, None)
    await digests.write_due(NOW, None)
    (told,) = await _written(store)
    assert told.digest is not None
    rows = {row.key: (row.stories, row.negative, row.before) for row in told.digest.keys}
    assert rows == {ALL: (5, 5, 2), BANKS: (5, 5, 2), Key("entity", "Nobody"): (0, 0, 0)}
    assert told.digest.keys[-1].key == Key("entity", "Nobody")


async def test_what_was_told_and_what_was_withheld_are_in_it_the_strongest_first(
    store: Store, clock: ManualClock
) -> None:
    receiver = {"channels": ["desk"], "digest": "hourly", "budget_per_day": 1}
    chain = Chain(store, clock, make_settings(receivers={"desk": receiver}, route={"receiver": "desk"}, inhibit=[]))
    digests = Digests(store, make_policy(chain.settings, chain.inboxes))
    await digests.write_due(clock.now(), None)
    for key, severity in ((OIL, Severity.WARNING), (BANKS, Severity.CRITICAL)):
        await chain.fire(key, severity)
        await chain.wait(minutes=10)
    await chain.wait(minutes=45)
    assert await digests.write_due(clock.now(), None) == 1
    (digest,) = [one.notification.digest for one in await store.deliveries.latest(limit=9) if one.notification.digest]
    assert [(entry.alert.key, entry.verdict) for entry in digest.entries] == [
        (BANKS, Verdict.BUDGET),
        (OIL, Verdict.SENT),
    ]
    assert "1 of 1 messages" in (digest.entries[0].detail or "")
    assert digest.entries[0].alert.labels["key"] == "Financials"


async def test_who_wants_none_gets_none_and_a_change_of_its_hour_repeats_nothing(store: Store) -> None:
    off = _digests(store, make_settings())
    await off.write_due(NOW, None)
    assert await store.deliveries.digests_until() == {}
    await _digests(store, _settings(digest_at="12:00")).write_due(NOW, None)
    assert await _digests(store, _settings(digest_at="12:00")).write_due(NOW + HOUR, None) == 1
    assert await _digests(store, _settings(digest_at="11:30")).write_due(NOW + 2 * HOUR, None) == 0
    assert await _digests(store, _settings(digest_at="11:30")).write_due(NOW + DAY, None) == 0
    assert await _digests(store, _settings(digest_at="11:30")).write_due(NOW + DAY + HOUR, None) == 1


async def test_the_dispatcher_sends_them_as_it_runs(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, _settings(digest="hourly"))
    await store.deliveries.add_digest("desk", NOW - HOUR, [], NOW, NOW)
    await chain.dispatch.drain()
    running = chain.dispatch._try_pass(digests=True)
    await running
    await chain.dispatch._finish()
    assert chain.desk.events == [Event.DIGEST]
