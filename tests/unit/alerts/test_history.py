"""The recent past of a key, as the picture shows it."""

from datetime import timedelta

import pytest

from alerts.history import history
from monitor.storage.store import Store
from tests.chain import BANKS, OIL, counted
from tests.factories import NOW, make_alert, make_spike

HOUR = timedelta(hours=1)


async def test_the_window_is_whole_bars_and_a_day_is_seen_before_it(store: Store) -> None:
    await counted(
        store, BANKS, {NOW - 10 * HOUR: 2, NOW - 0.5 * HOUR: 3, NOW - 0.1 * HOUR: 4, NOW: 5, NOW - 30 * HOUR: 6}
    )
    await counted(store, OIL, {NOW - HOUR: 9})
    found = await history(store, make_alert(), NOW)
    assert (found.key, found.width_s, found.start) == (BANKS, 600, NOW - 24 * HOUR)
    assert len(found.negative) == len(found.heard) == 24 * 6
    assert found.negative[-3:] == (3, 0, 4)
    assert sum(found.negative) == 9
    assert all(found.heard)


@pytest.mark.parametrize("hours", [0, 1, 9.5, 100, 10**4])
@pytest.mark.parametrize("window_h", [0.5, 1, 6, 24])
async def test_it_goes_on_until_now_and_is_never_longer_than_two_weeks(
    store: Store, hours: float, window_h: float
) -> None:
    spike = make_spike(start=NOW - window_h * HOUR)
    found = await history(store, make_alert(spikes=(spike,)), NOW + hours * HOUR)
    width = timedelta(seconds=found.width_s)
    assert width == window_h * HOUR / 3
    end = found.start + len(found.negative) * width
    assert end - found.start <= timedelta(days=14) + 2 * width
    assert min(NOW + hours * HOUR, NOW + timedelta(days=7)) <= end < NOW + timedelta(days=7) + 2 * width
    assert (NOW - found.start) % width == timedelta()
    assert NOW - found.start >= min(timedelta(days=1), 10 * window_h * HOUR)


async def test_when_nobody_listened_is_marked(store: Store) -> None:
    await counted(store, BANKS, {NOW - 12 * HOUR: 1})
    await store.coverage.heard("wire", NOW - 12 * HOUR, NOW - 6 * HOUR)
    found = await history(store, make_alert(), NOW)
    bars = 6 * 6
    assert all(found.heard[2 * bars : 3 * bars])
    assert not any(found.heard[3 * bars : 4 * bars])
