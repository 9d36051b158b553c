"""At most so many messages a day, and the strongest of them."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.budget import within
from monitor.clock import ManualClock
from monitor.domain.alerts import Event, Verdict
from monitor.domain.spikes import Severity
from monitor.storage.store import Store
from tests.chain import BANKS, CHIPS, OIL, Chain, make_settings
from tests.factories import NOW


@given(limit=st.integers(1, 1000), spent=st.integers(0, 1100))
def test_the_stronger_may_use_more_and_nobody_more_than_there_is(limit: int, spent: int) -> None:
    shares = {Severity.WARNING: 2 / 3, Severity.SEVERE: 5 / 6, Severity.CRITICAL: 1}
    for severity, share in shares.items():
        assert within(severity, spent, limit) == (spent < math.ceil(round(limit * share, 6)))
        assert within(severity, spent, 0)


@pytest.mark.parametrize(("limit", "usable"), [(1, (1, 1, 1)), (3, (2, 3, 3)), (6, (4, 5, 6)), (12, (8, 10, 12))])
def test_what_each_severity_may_use(limit: int, usable: tuple[int, ...]) -> None:
    assert tuple(sum(within(severity, spent, limit) for spent in range(99)) for severity in Severity) == usable


def _chain(store: Store, clock: ManualClock, limit: int) -> Chain:
    receiver = {"channels": ["desk"], "budget_per_day": limit}
    settings = make_settings(
        receivers={"desk": receiver},
        route={"receiver": "desk", "group_by": ["key"]},
        repeat_interval_s=10**7,
        inhibit=[],
    )
    return Chain(store, clock, settings)


async def test_of_several_groups_at_once_the_strongest_go(store: Store, clock: ManualClock) -> None:
    chain = _chain(store, clock, 2)
    await chain.fire(OIL, Severity.WARNING)
    await chain.fire(BANKS, Severity.SEVERE, score=1.0)
    await chain.fire(CHIPS, Severity.SEVERE, score=2.0)
    await chain.wait(hours=1)
    assert sorted(chain.desk.about) == [["Chips Ltd"], ["Financials"]]
    assert (await chain.verdicts(OIL))[-1] is Verdict.BUDGET
    detail = (await chain.decisions(OIL))[-1].detail
    assert detail == "2 of 2 messages of 24 h are spent; warning may not use the rest"


async def test_it_is_spent_over_any_24_hours_and_ends_are_free(store: Store, clock: ManualClock) -> None:
    chain = _chain(store, clock, 3)
    for number in range(40):
        if number % 3 == 0:
            chain.restart()
        spike = await chain.fire(OIL, Severity.CRITICAL)
        await chain.wait(minutes=10)
        await chain.end(spike)
        await chain.wait(minutes=80)
    sent = [told.created_at for told in chain.desk.accepted if told.event is Event.FIRING]
    ended = [told for told in chain.desk.accepted if told.event is Event.RESOLVED]
    assert len(sent) == len(ended)
    day = timedelta(days=1)
    most = [sum(first <= moment < first + day for moment in sent) for first in sent]
    assert max(most) == 3
    assert sent[3] - sent[0] >= day
    assert len(sent) == 9  # 60 hours


async def test_what_was_held_back_is_told_once_there_is_room_if_it_still_fires(
    store: Store, clock: ManualClock
) -> None:
    chain = _chain(store, clock, 1)
    await chain.fire(BANKS)
    await chain.wait(minutes=1)
    await chain.fire(OIL)
    await chain.wait(hours=23)
    assert chain.desk.about == [["Financials"]]
    await chain.wait(hours=1, minutes=5)
    assert chain.desk.about == [["Financials"], ["Energy | Oil"]]
    assert chain.desk.accepted[1].created_at >= NOW + timedelta(days=1, seconds=30)


async def test_a_message_of_many_alerts_costs_one(store: Store, clock: ManualClock) -> None:
    receiver = {"channels": ["desk"], "budget_per_day": 2}
    chain = Chain(store, clock, make_settings(receivers={"desk": receiver}, route={"receiver": "desk"}, inhibit=[]))
    for key in (BANKS, OIL, CHIPS):
        await chain.fire(key)
    await chain.wait(minutes=10)
    assert await store.groups.spent("desk", "all", NOW - timedelta(hours=1)) == 1
