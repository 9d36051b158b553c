"""Feeds that fail for six hours: not observed, no spike, no recovery; and a backlog that is no news any more."""

from datetime import datetime, timedelta

import pytest

from monitor.bus.embedded import EmbeddedBus
from monitor.clock import ManualClock
from monitor.domain.labels import LabelledArticle, Sentiment
from monitor.domain.windows import ALL, BUCKET_S
from monitor.settings import DetectSettings
from monitor.storage.store import Store
from monitor.storage.timeline import points
from pipelines.detect.detectors.gamma_poisson import Config, build
from pipelines.detect.stage import Detect
from pipelines.detect.watch import Watch
from tests.factories import NOW
from tests.news import calm, item, told

OUTAGE = timedelta(hours=6)
BACK = NOW + OUTAGE
FEEDS = [f"wire {n}" for n in range(5)]


def _bad(name: str, published: datetime, fetched: datetime, count: int) -> list[LabelledArticle]:
    news = [
        item(told(name, n), published + timedelta(minutes=n), Sentiment.NEGATIVE, source=FEEDS[n % 5])
        for n in range(count)
    ]
    return [one.model_copy(update={"article": one.article.model_copy(update={"fetched_at": fetched})}) for one in news]


@pytest.fixture
async def out(store: Store) -> Store:
    """Ten days of news; then all feeds fail for six hours, and come back."""
    await store.articles.add(calm(10))
    for feed in FEEDS:
        await store.coverage.heard(feed, NOW - timedelta(days=10), NOW)
        await store.coverage.heard(feed, BACK - timedelta(minutes=5), BACK + timedelta(hours=1))
    return store


def _detect(store: Store, bus: EmbeddedBus, settings: DetectSettings | None = None) -> Detect:
    settings = settings or DetectSettings()
    return Detect(
        lambda: Watch(build(Config()), settings), store=store, bus=bus, clock=ManualClock(NOW), settings=settings
    )


async def test_its_buckets_are_not_observed(out: Store, bus: EmbeddedBus) -> None:
    await _detect(out, bus).tick(BACK)
    await out.articles.add(_bad("late", NOW + timedelta(hours=1), BACK, 3))
    await _detect(out, bus).tick(BACK + timedelta(hours=1))
    rows = await out.articles.trends(since=NOW, key="all")
    assert sum(row.articles for row in rows) == 3
    assert {point.observed for point in await points(out, rows, BACK + timedelta(hours=1))} == {0.0}
    exposure = await out.coverage.observed(NOW - timedelta(hours=1), BACK + timedelta(hours=1))
    missed = [start for start, observed in exposure.items() if observed.share == 0]
    assert len(missed) == OUTAGE.total_seconds() / BUCKET_S - 1
    assert exposure.share(ALL, NOW, BACK) == pytest.approx(1 / 72)
    assert missed[0] == NOW


async def test_its_backlog_fires_nothing_stale(out: Store, bus: EmbeddedBus) -> None:
    """A burst that began and ended while nobody listened, all of it fetched at once."""
    await out.articles.add(_bad("burst", NOW + timedelta(minutes=30), BACK, 20))
    assert await _detect(out, bus).tick(BACK + timedelta(minutes=1)) == []
    stale = DetectSettings(alert_horizon_s=86_400)
    other = await Store.open("sqlite+aiosqlite://")
    try:
        await other.articles.add([*calm(10), *_bad("burst", NOW + timedelta(hours=5), BACK, 20)])
        assert await _detect(other, bus, stale).tick(BACK + timedelta(minutes=1)) != []  # were it still news
    finally:
        await other.aclose()


async def test_an_episode_does_not_end_while_nobody_listens(
    out: Store, bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.detect.stage._QUIET_S", 0.0)
    await out.articles.add(_bad("burst", NOW - timedelta(minutes=25), NOW, 20))
    detect = _detect(out, bus)
    assert await detect.tick(NOW + timedelta(minutes=1)) != []
    for hours in (1, 2, 3, 4, 5, 5.9):
        await detect.tick(NOW + timedelta(hours=hours))
        await detect.tick(NOW + timedelta(hours=hours))
    assert {spike.state for spike in await out.spikes.latest(limit=9)} == {"firing"}
    for feed in FEEDS:
        await out.coverage.heard(feed, BACK, BACK + timedelta(hours=4))
    await out.articles.add(calm(4 / 24, until=BACK + timedelta(hours=4)))
    for hours in (7, 8, 10, 10):
        await detect.tick(NOW + timedelta(hours=hours))
    assert {spike.state for spike in await out.spikes.latest(limit=9)} == {"resolved"}


async def test_the_outage_is_not_learned_as_quiet(out: Store, bus: EmbeddedBus) -> None:
    detector = build(Config())
    watch = Watch(detector, DetectSettings())
    detect = Detect(
        lambda: watch, store=out, bus=bus, clock=ManualClock(NOW), settings=DetectSettings(keys=frozenset({"all"}))
    )
    await detect.tick(NOW + timedelta(minutes=1))
    before, *_ = detector.expected(ALL, 7200)
    await out.articles.add(_bad("after", BACK + timedelta(hours=13), BACK + timedelta(hours=13), 1))
    for feed in FEEDS:
        await out.coverage.heard(feed, BACK, BACK + timedelta(hours=13))
    await detect.tick(BACK + timedelta(hours=14))
    after, *_ = detector.expected(ALL, 7200)
    # Thirteen hours without news were heard, the six of the outage were not: they leave no mark.
    assert after == pytest.approx(before, rel=0.2)
