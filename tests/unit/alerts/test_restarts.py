"""Whatever happens in whatever order, and however often the dispatcher is restarted in between."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Verdict
from monitor.domain.spikes import Severity, Spike
from monitor.errors import Reason, StoreError
from monitor.storage import tables
from monitor.storage.store import Store
from tests.chain import KEYS, Chain, Inbox, make_settings
from tests.factories import NOW

BUDGET = 4

POLICY = make_settings(
    ("desk", "chat"),
    receivers={"desk": {"channels": ["desk"], "budget_per_day": BUDGET}},
    group_wait_s=30, group_interval_s=300, repeat_interval_s=3600, keep_firing_for_s=900, min_severity="severe",
    story_memory_h=4,
    time_intervals={"lunch": [{"times": [{"start_time": "12:00", "end_time": "13:30"}]}]},
    route={
        "receiver": "desk",
        "routes": [
            {"matchers": ['kind=~"topic|entity"'], "receiver": "chat", "group_by": ["key"], "continue": True,
             "mute_time_intervals": ["lunch"], "pass_severity": "critical"},
            {"matchers": ['kind=~".+"'], "group_by": ["kind"]},
        ],
    },
)  # fmt: skip


class Step(NamedTuple):
    """What happens to a key, whether the dispatcher is restarted then, and how much time passes after it.

    Nothing happens at the very moment of a look: then it is chance whether it comes before or after.
    """

    what: str
    key: int
    severity: Severity
    stories: int
    seconds: float
    restart: bool


_STEPS = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["fire", "fire", "end", "acknowledge", "silence", "nothing"]),
        key=st.integers(0, len(KEYS) - 1),
        severity=st.sampled_from(list(Severity)),
        stories=st.integers(1, 9),
        seconds=st.sampled_from([0, 11, 311, 611, 1811, 4200, 18_000]),
        restart=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


async def _play(store: Store, steps: Sequence[Step], *, restarts: bool) -> Chain:
    async with store._database.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            await connection.execute(delete(table))
    chain = Chain(store, ManualClock(NOW), POLICY, desk=Inbox(), chat=Inbox(recipients=("a", "b")))
    firing: dict[int, list[Spike]] = {}
    for step in steps:
        key = KEYS[step.key]
        if step.what == "fire":
            titles = [f"Story {step.stories + n}" for n in range(step.stories)]
            firing.setdefault(step.key, []).append(await chain.fire(key, step.severity, titles=titles))
        elif step.what == "end":
            await chain.end(*firing.pop(step.key, []))
        elif step.what == "acknowledge":
            if await store.alerts.latest(limit=1, key=key):
                await chain.acknowledge(key)
        elif step.what == "silence":
            await chain.silence(f'key="{key.name}"', minutes=40)
        if restarts and step.restart:
            chain.restart()
        await chain.wait(seconds=step.seconds)
    for spikes in firing.values():
        await chain.end(*spikes)
    await chain.wait(hours=30)
    return chain


def _sent(chain: Chain) -> list[tuple[Any, ...]]:
    return sorted(
        (told.created_at, told.channel, told.recipient, told.id, told.event, [alert.id for alert in told.alerts])
        for inbox in chain.inboxes.values()
        for told in inbox.accepted
    )


def _most_in_a_day(moments: Sequence[datetime]) -> int:
    day = timedelta(days=1)
    return max((sum(end - day < moment <= end for moment in moments) for end in moments), default=0)


async def _assert_lawful(chain: Chain) -> None:
    sent = [told for inbox in chain.inboxes.values() for told in inbox.accepted]
    assert max(Counter(told.id for told in sent).values(), default=1) == 1
    to_desk = [told.created_at for told in chain.desk.accepted if told.event is not Event.RESOLVED]
    assert _most_in_a_day(to_desk) <= BUDGET
    told_of: dict[tuple[str, str], list[Event]] = {}
    for told in sorted(sent, key=lambda told: told.created_at):
        for alert in told.alerts[: told.about]:
            told_of.setdefault((told.recipient, alert.id), []).append(told.event)
    for events in told_of.values():
        assert events[0] is Event.FIRING
        assert events.count(Event.FIRING) == 1
        assert events.count(Event.RESOLVED) == 1
        assert events[-1] is Event.RESOLVED
    for row in await chain.store.alerts.latest(limit=99):
        assert row.closed_at is not None
        standings = await chain.store.groups.standings(row.alert.id)
        assert standings
        decided = await chain.store.groups.decisions([row.alert.id])
        for standing in standings:
            mine = [one.verdict for one in decided if one.group_id == standing.group.id]
            assert standing.verdict is not Verdict.WAITING
            assert (Verdict.SENT in mine) == (standing.told is not None and standing.done_at is not None)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=_STEPS)
@example(
    steps=[
        Step("fire", 1, Severity.SEVERE, 4, 4200, True),
        Step("fire", 3, Severity.SEVERE, 4, 18_000, True),
        Step("nothing", 0, Severity.SEVERE, 1, 611, True),
    ]
)
async def test_restarts_change_nothing_of_what_is_told(steps: list[Step], store: Store) -> None:
    with_restarts = await _play(store, steps, restarts=True)
    await _assert_lawful(with_restarts)
    without = await _play(store, steps, restarts=False)
    await _assert_lawful(without)
    assert _sent(with_restarts) == _sent(without)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("table", "step"),
    [("groups", "route"), ("groups", "write"), ("deliveries", "to_send"), ("deliveries", "log")],
)
async def test_a_process_that_dies_at_any_step_tells_everything_under_the_same_ids(
    table: str, step: str, after: bool, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies again and again, before or after the step; the next goes on with what is in the tables."""
    chain = Chain(store, clock, make_settings(keep_firing_for_s=0))
    part = getattr(store, table)
    call = getattr(part, step)
    deaths = iter([True, True, False, True, False, True, True] + [False] * 999)

    async def dies(*args: Any, **kwargs: Any) -> Any:
        dead = next(deaths)
        if dead and not after:
            raise StoreError(Reason.STORAGE, "cut off")
        found = await call(*args, **kwargs)
        if dead:
            raise StoreError(Reason.STORAGE, "cut off")
        return found

    monkeypatch.setattr(part, step, dies)
    spike = await chain.fire()
    for number in range(200):
        if number == 100:
            await chain.end(spike)
        clock.set(clock.now() + timedelta(seconds=10))
        try:
            await chain.dispatch.dispatch_once()
        except StoreError:
            chain.restart()
    by_id = {told.id: told for told in chain.desk.accepted}
    assert [told.event for told in by_id.values()] == [Event.FIRING, Event.RESOLVED]
    if step != "log":  # only there is it unknown whether it was accepted: whoever receives it drops it by its id
        assert len(chain.desk.accepted) == 2
    delivered = await store.deliveries.latest(limit=9)
    assert [one.state for one in delivered] == ["delivered"] * 2


async def test_two_dispatchers_that_take_turns_tell_each_message_once(store: Store, clock: ManualClock) -> None:
    chain = Chain(store, clock, make_settings(repeat_interval_s=600))
    first = chain.dispatch
    chain.restart()
    second = chain.dispatch
    await chain.fire()
    for number in range(80):
        await (first, second)[number % 2].dispatch_once()
        await asyncio.sleep(0)
        clock.set(clock.now() + timedelta(seconds=30))
    assert chain.desk.events == [Event.FIRING, *[Event.REPEATED] * 3]
    assert len({told.id for told in chain.desk.accepted}) == 4
