"""What every source keeps to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anyio import CapacityLimiter

from monitor.clock import ManualClock
from monitor.errors import FetchError, Reason
from monitor.http import client
from monitor.plugins import kinds, load
from monitor.settings import HttpSettings, IngestSettings
from pipelines.ingest.fetch import Fetcher
from pipelines.ingest.source import Source, SourceConfig, SourceDeps
from tests.factories import NOW
from tests.servers import answer, web

PACKAGE = "pipelines.ingest.sources"
KINDS = kinds(PACKAGE)
LINES = b'{"title": "Bank halts withdrawals", "guid": "1"}\n\n{"title": "Fund shuts"}\nno JSON\n'
FEED = b"<rss version='2.0'><channel><item><title>Bank halts withdrawals</title></item></channel></rss>"


@pytest.fixture
async def deps() -> AsyncIterator[SourceDeps]:
    clock = ManualClock(NOW)
    async with client(allow_private_addresses=True, user_agent="test") as http:
        yield SourceDeps(Fetcher(http, HttpSettings(), clock), clock, IngestSettings(), CapacityLimiter(1))


def example(kind: str) -> SourceConfig:
    config: SourceConfig = load(PACKAGE, kind).Config.example(secret="missing")
    return config


def build(config: SourceConfig, deps: SourceDeps) -> Source:
    source: Source = load(PACKAGE, config.kind).build(config, deps)
    return source


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_valid_and_has_an_address(kind: str) -> None:
    config = example(kind)
    again = type(config).model_validate(config.model_dump())
    assert again == config
    assert again.kind == kind
    assert again.address == config.address != ""
    assert "missing" in config.address


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_missing_is_named(kind: str, deps: SourceDeps) -> None:
    source = build(example(kind), deps)
    for _ in range(2):
        with pytest.raises(FetchError) as caught:
            await source.poll({})
        assert caught.value.reason in (Reason.UNREACHABLE, Reason.CLIENT_ERROR)


def test_every_source_is_seen_to_read() -> None:
    assert KINDS == ["feed", "replay"], "a new source needs its reading tested below"


async def test_a_feed_is_read_and_then_only_when_it_changed(deps: SourceDeps) -> None:
    async with web() as server:
        url = server.put("/feed", answer(200, FEED, ETag='"1"', Cache_Control="max-age=900"))
        source = build(load(PACKAGE, "feed").Config(url=url), deps)
        poll = await source.poll({})
        assert [entry.title for entry in poll.entries] == ["Bank halts withdrawals"]
        assert poll.modified
        assert poll.next_at is not None
        assert (poll.next_at - NOW).total_seconds() == 900
        server.put("/feed", answer(304))
        again = await source.poll(poll.cursor)
        assert (again.entries, again.modified, again.cursor) == ((), False, poll.cursor)
        assert server.requests[1].headers["if-none-match"] == '"1"'


async def test_a_body_that_takes_too_long_costs_one_poll(deps: SourceDeps) -> None:
    async with web() as server:
        config = load(PACKAGE, "feed").Config(url=server.put("/feed", answer(200, FEED)))
        hasty = build(config, deps._replace(settings=IngestSettings(parse_timeout_s=0.001)))
        for _ in range(2):
            with pytest.raises(FetchError, match="parsing took over") as caught:
                await hasty.poll({})
            assert caught.value.reason is Reason.MALFORMED
        assert len((await build(config, deps).poll({})).entries) == 1


async def test_an_archive_is_read_on_from_the_cursor(deps: SourceDeps, tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    path.write_bytes(LINES)
    source = build(load(PACKAGE, "replay").Config(path=path, chunk=2), deps)
    first = await source.poll({})
    assert [entry.title for entry in first.entries] == ["Bank halts withdrawals", "Fund shuts"]
    second = await source.poll(first.cursor)
    assert not second.entries
    assert [(item.raw, item.error.reason) for item in second.refused] == [(b"no JSON\n", Reason.MALFORMED)]
    third = await source.poll(second.cursor)
    assert (third.entries, third.refused, third.cursor) == ((), (), second.cursor)
    assert await source.poll({"line": "nonsense"}) == first
