"""The timing of ticks: the past that is made up is one that the stages could have left, and ticks look at all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from monitor.bench import tick
from monitor.bench.past import Teller, fill
from monitor.domain.names import MAX_NAMES, names
from monitor.domain.record import utc
from monitor.domain.windows import Key
from monitor.errors import ConfigError
from monitor.settings import Settings, of
from monitor.storage.database import sqlite_url
from monitor.storage.store import Store
from pipelines.detect.detectors.gamma_poisson import Config, build
from tests.factories import make_labelled

NOW = utc(2026, 3, 4, 11, 2)


def _settings(tmp_path: Path) -> Settings:
    given: dict[str, Any] = {"data_dir": str(tmp_path), "database": {"url": sqlite_url(tmp_path / "a.sqlite3")}}
    return of(given)


@pytest.mark.parametrize("count", [1, 3, MAX_NAMES])
def test_an_article_names_whom_it_is_about(count: int) -> None:
    teller = Teller(5_000)
    assert len(set(teller.names)) == 5_000
    for start in range(0, 400, count):
        told = teller.tell(NOW, teller.names[start : start + count])
        assert names(told.title, told.summary) == teller.names[start : start + count]


async def test_the_past_is_counted_as_the_stages_count(store: Store) -> None:
    detector = build(Config())
    assert await fill(store._database, detector, Teller(40).past(300, NOW)) == 300
    for resolution in ("5m", "1h", "1d"):
        recount = await store.recount(resolution, negative_from=0.25)
        assert (len(recount.stored), recount.differing) == (len(recount.counted), set())
    assert await store.sightings.unseen(NOW) == []
    assert await store.articles.totals() == {"articles": 300, "labelled": 300, "unlabelled": 0}
    assert detector.dump() != build(Config()).dump()


def test_ticks_look_at_all_and_their_parts_add_up(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    found = tick.measure(settings, articles=400, keys=40, rounds=2)
    assert set(found["loads"]) == set(tick.LOADS)
    assert [load["articles"] for load in found["loads"].values()] == [50, 500, 5]
    for load in found["loads"].values():
        assert 0 < load["median_s"] <= load["worst_s"]
        assert sum(load["parts"].values()) == pytest.approx(load["median_s"])
        assert {"read", "stories", "count", "judge", "write"} <= set(load["parts"])

    async def stored() -> tuple[int, set[Key]]:
        store = await Store.open(sqlite_url(tmp_path / "a.sqlite3"))
        try:
            seen = await store.sightings.seen(limit=10_000)
            rows = await store.articles.trends(resolution="1d", kinds=["entity"], since=utc(2026, 3, 4))
            return len(seen), {row.key for row in rows}
        finally:
            await store.aclose()

    ticks = 2 + 2  # those timed, and those before
    seen, keys = asyncio.run(stored())
    assert seen == 400 + ticks * (50 + 500 + 5)
    assert keys == {Key("entity", name) for name in Teller(40).names}


def test_a_database_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    settings = _settings(tmp_path)

    async def put() -> None:
        store = await Store.open(sqlite_url(tmp_path / "a.sqlite3"))
        await store.articles.add([make_labelled()])
        await store.aclose()

    asyncio.run(put())
    with pytest.raises(ConfigError, match=r"--database: expected an empty database; it holds 1 articles"):
        tick.measure(settings, articles=10, keys=10, rounds=1)
