"""The rhythm of feeds: when each is polled again, what is remembered of it, what is only done after what."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from monitor.bus.bus import Bus, Message
from monitor.bus.streams import Group, Stream
from monitor.clock import ManualClock
from monitor.domain.article import Article
from monitor.domain.dead_letters import DeadLetter
from monitor.domain.record import decode
from monitor.errors import BusError, FetchError, Reason, RecordError, StoreError
from monitor.settings import IngestSettings
from monitor.storage.feeds import FeedState
from monitor.storage.store import Store
from pipelines.ingest.intake import Arrival, Intake
from pipelines.ingest.normalise import Plausibility
from pipelines.ingest.source import Cursor, Entry, Note, Poll, Refused
from pipelines.ingest.sources.feed import Config
from pipelines.ingest.stage import Ingest
from tests.factories import NOW

SETTINGS = IngestSettings(interval_s=100, min_interval_s=30, max_interval_s=1000, jitter=0)
CONFIG = Config(url="https://news.example.com/feed")
SETTLED = Poll((), {})


class Scripted:
    """Answers each poll with the next item of its script; the last one stands."""

    def __init__(self, *script: Poll | Exception) -> None:
        self.script = list(script)
        self.cursors: list[Cursor] = []

    async def poll(self, cursor: Cursor) -> Poll:
        self.cursors.append(cursor)
        told = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(told, Exception):
            raise told
        return told


def _entry(title: str = "Bank halts withdrawals", **overrides: Any) -> Entry:
    fields: dict[str, Any] = {
        "summary": "",
        "url": None,
        "guid": None,
        "published": None,
        "language": None,
        "source": None,
        "raw": {},
    }
    return Entry(**{"title": title, **fields, **overrides})


async def _ingest(source: Scripted, store: Store, bus: Bus, clock: ManualClock, config: Config = CONFIG) -> Ingest:
    intake = Intake(bus, store, Plausibility(timedelta(days=30), timedelta(minutes=5)))
    ingest = Ingest({"wire": (config, source)}, intake=intake, store=store, clock=clock, settings=SETTINGS)
    await ingest._load_states()
    return ingest


async def _published(bus: Bus) -> list[str]:
    consumer = await bus.subscribe(Group.CLASSIFY)
    return sorted(decode(Article, message.value).title for message in await consumer.poll(1000, timeout_s=0))


def _wait_s(state: FeedState) -> float:
    assert state.next_poll_at is not None
    return (state.next_poll_at - NOW).total_seconds()


async def test_failures_double_the_wait_up_to_a_limit(store: Store, bus: Bus, clock: ManualClock) -> None:
    ingest = await _ingest(Scripted(FetchError(Reason.SERVER_ERROR, "HTTP 500")), store, bus, clock)
    states = [await ingest.poll_once("wire") for _ in range(30)]
    assert [_wait_s(state) for state in states[:5]] == [200, 400, 800, 1000, 1000]
    assert states[-1].failures == 30
    assert (states[-1].reason, states[-1].detail, states[-1].parked) == (Reason.SERVER_ERROR, "HTTP 500", False)
    assert (await store.feeds.all())["wire"] == states[-1]


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.UNREACHABLE])
async def test_who_was_not_reached_is_asked_again_soon(
    reason: Reason, store: Store, bus: Bus, clock: ManualClock
) -> None:
    ingest = await _ingest(Scripted(FetchError(reason, "gone quiet")), store, bus, clock)
    assert [_wait_s(await ingest.poll_once("wire")) for _ in range(7)] == [30, 60, 120, 240, 480, 960, 1000]


async def test_entries_of_one_feed_that_share_a_link_are_different(store: Store, bus: Bus, clock: ManualClock) -> None:
    notices = tuple(_entry(title, url="https://press.example/notices") for title in ("Fine", "Licence revoked"))
    ingest = await _ingest(Scripted(SETTLED._replace(entries=notices)), store, bus, clock)
    for _ in range(2):  # the second time it changes nothing
        assert (await ingest.poll_once("wire")).articles == 2
    assert await _published(bus) == ["Fine", "Licence revoked"]


async def test_what_the_database_would_not_keep_is_not_taken_in(store: Store, bus: Bus, clock: ManualClock) -> None:
    plausibility = Plausibility(timedelta(days=3650), timedelta(minutes=5))
    intake = Intake(bus, store, plausibility, retention=timedelta(days=90))
    entries = [
        _entry("old", published=(NOW - timedelta(days=91)).isoformat()),
        _entry("new", published=NOW.isoformat()),
    ]
    taken = await intake.take([Arrival(entry, "wire", NOW) for entry in entries], [], NOW)
    assert (taken.published, taken.expired) == (1, 1)
    assert await _published(bus) == ["new"]


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0.0, 200), (5.0, 200), (600.0, 600), (9e9, 1000)])
async def test_no_feed_is_polled_before_it_asked(
    asked_s: float, wait_s: float, store: Store, bus: Bus, clock: ManualClock
) -> None:
    error = FetchError(Reason.RATE_LIMITED, "HTTP 429", retry_after_s=asked_s)
    assert _wait_s(await (await _ingest(Scripted(error), store, bus, clock)).poll_once("wire")) == wait_s


@pytest.mark.parametrize(("asked_s", "wait_s"), [(None, 100), (-50, 100), (50, 100), (500, 500), (5000, 1000)])
async def test_a_publisher_may_ask_for_patience_within_limits(
    asked_s: float | None, wait_s: float, store: Store, bus: Bus, clock: ManualClock
) -> None:
    at = None if asked_s is None else NOW + timedelta(seconds=asked_s)
    ingest = await _ingest(Scripted(SETTLED._replace(next_at=at)), store, bus, clock)
    assert _wait_s(await ingest.poll_once("wire")) == wait_s


async def test_a_success_ends_the_backoff(store: Store, bus: Bus, clock: ManualClock) -> None:
    failing = FetchError(Reason.SERVER_ERROR, "HTTP 500")
    ingest = await _ingest(Scripted(failing, failing, SETTLED._replace(modified=False)), store, bus, clock)
    assert [(await ingest.poll_once("wire")).failures for _ in range(3)] == [1, 2, 0]
    state = await ingest.poll_once("wire")
    assert (state.reason, state.detail, _wait_s(state)) == (None, None, 100)


async def test_a_feed_that_is_gone_is_parked_until_it_has_another_address(
    store: Store, bus: Bus, clock: ManualClock
) -> None:
    gone = Scripted(Poll((), {"etag": "1"}), FetchError(Reason.GONE, "HTTP 410"))
    ingest = await _ingest(gone, store, bus, clock)
    await ingest.poll_once("wire")
    assert (await ingest.poll_once("wire")).parked

    again = await _ingest(gone, store, bus, clock)
    assert again._states["wire"].parked
    running = asyncio.ensure_future(again.run())
    await again.drain()
    await running
    assert len(gone.cursors) == 2

    moved = Scripted(SETTLED)
    state = await (await _ingest(moved, store, bus, clock, Config(url="https://news.example.com/other"))).poll_once(
        "wire"
    )
    assert moved.cursors == [{}]
    assert (state.parked, state.failures, state.url) == (False, 0, "https://news.example.com/other")


async def test_the_cursor_is_saved_only_when_the_articles_are_on_the_bus(
    store: Store, bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Scripted(Poll((_entry(),), {"etag": "1"}))
    ingest = await _ingest(source, store, bus, clock)
    publish = bus.publish

    async def full(stream: Stream, messages: list[Message]) -> None:
        raise BusError(Reason.STORAGE_FULL, "full")

    monkeypatch.setattr(bus, "publish", full)
    with pytest.raises(BusError):
        await ingest.poll_once("wire")
    assert await store.feeds.all() == {}
    monkeypatch.setattr(bus, "publish", publish)
    state = await ingest.poll_once("wire")
    assert source.cursors == [{}, {}]
    assert (state.cursor, state.articles, state.last_new_at) == ({"etag": "1"}, 1, NOW)
    assert await _published(bus) == ["Bank halts withdrawals"]


async def test_what_is_known_is_not_published_again(store: Store, bus: Bus, clock: ManualClock) -> None:
    source = Scripted(Poll((_entry("One"), _entry("Two"), _entry("One")), {}))
    for _ in range(2):
        await (await _ingest(source, store, bus, clock)).poll_once("wire")
    first = await _ingest(source, store, bus, clock)
    await first.poll_once("wire")
    state = await first.poll_once("wire")
    assert await _published(bus) == sorted(["One", "Two"] * 3)  # nothing is stored yet: each process publishes once
    assert state.articles == 6


async def test_the_refused_are_dead_letters_and_noted(store: Store, bus: Bus, clock: ManualClock) -> None:
    refused = Refused(b"\xff{", RecordError(Reason.MALFORMED, "not JSON"))
    poll = Poll((_entry(), _entry("", raw={"title": "\ud800"})), {}, refused=(refused,))
    state = await (await _ingest(Scripted(poll), store, bus, clock)).poll_once("wire")
    assert (state.reason, state.detail) == (Reason.NO_TEXT, "2 entries refused; see dead-letters list")
    letters = [
        decode(DeadLetter, message.value)
        for message in await (await bus.subscribe(Group.DEAD_LETTERS)).poll(9, timeout_s=0)
    ]
    assert sorted(letter.value for letter in letters) == [b'{"title": "\xed\xa0\x80"}', b"\xff{"]
    assert {(letter.stage, letter.stream) for letter in letters} == {("ingest", None)}


async def test_a_move_and_a_note_are_remembered_while_nothing_changes(
    store: Store, bus: Bus, clock: ManualClock
) -> None:
    note = Note(Reason.EMPTY, "a feed\0 without\x1b entries")
    ingest = await _ingest(
        Scripted(Poll((), {}, note=note, moved_to="https://x.example"), Poll((), {}, modified=False), Poll((), {})),
        store, bus, clock,
    )  # fmt: skip
    first, unchanged, changed = [await ingest.poll_once("wire") for _ in range(3)]
    assert (first.reason, first.detail, first.moved_to) == (Reason.EMPTY, "a feed without entries", "https://x.example")
    assert (unchanged.reason, unchanged.detail) == (first.reason, first.detail)
    assert (changed.reason, changed.detail) == (None, None)


async def test_one_guid_for_all_is_noted(store: Store, bus: Bus, clock: ManualClock) -> None:
    entries = tuple(_entry(f"Story {n}", guid="same", url=f"https://x.example/{n}") for n in range(3))
    state = await (await _ingest(Scripted(Poll(entries, {})), store, bus, clock)).poll_once("wire")
    assert (state.reason, state.articles) == (Reason.MALFORMED, 3)
    assert "1 guids" in (state.detail or "")


@pytest.mark.parametrize(
    "surprise", [ValueError("odd \ud800\0"), BusError(Reason.STORAGE, "x"), StoreError(Reason.STORAGE, "x")]
)
async def test_a_surprise_stays_with_its_feed_and_it_is_polled_again(
    surprise: Exception, store: Store, bus: Bus, clock: ManualClock
) -> None:
    ingest = await _ingest(Scripted(surprise, SETTLED), store, bus, clock)
    ingest._scheduler.start(paused=True)
    try:
        await ingest._poll("wire")
        assert ingest._scheduler.get_job("wire") is not None
        await ingest._poll("wire")
        assert ingest._states["wire"].last_success_at == NOW
    finally:
        ingest._scheduler.shutdown(wait=False)


async def test_a_feed_is_polled_when_it_runs_and_draining_waits_for_it(
    store: Store, bus: Bus, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.ingest.stage._FIRST_POLLS_WITHIN_S", 0.0)
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def poll(self, cursor: Cursor) -> Poll:
            begun.set()
            await go_on.wait()
            return await super().poll(cursor)

    clock.set(NOW - timedelta(days=9))  # the scheduler runs on the machine's clock: this is long past for it
    ingest = await _ingest(Slow(Poll((_entry(),), {})), store, bus, clock)
    running = asyncio.ensure_future(ingest.run())
    async with asyncio.timeout(10):
        await begun.wait()
        draining = asyncio.ensure_future(ingest.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        go_on.set()
        await draining
        await ingest.drain()
        await running
    assert await _published(bus) == ["Bank halts withdrawals"]


async def test_draining_may_come_before_running(store: Store, bus: Bus, clock: ManualClock) -> None:
    source = Scripted(SETTLED)
    ingest = await _ingest(source, store, bus, clock)
    await ingest.drain()
    async with asyncio.timeout(30):
        await ingest.run()
    assert source.cursors == []
