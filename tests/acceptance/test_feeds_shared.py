"""Feeds as publishers really wrote them, well or badly, through the source that polls feeds."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor import app
from monitor.clock import SystemClock
from monitor.errors import FetchError, Reason, RecordError
from monitor.plugins import load
from monitor.settings import Settings
from pipelines.ingest.normalise import article
from pipelines.ingest.source import Entry, SourceDeps
from tests.acceptance.command import SHARED
from tests.acceptance.serving import Answer, Web

FEEDS = SHARED / "feeds"
CONTENT_TYPES = {
    ".atom": "application/atom+xml",
    ".html": "text/html; charset=utf-8",
    ".json": "application/feed+json",
    ".opml": "text/x-opml",
    ".rdf": "application/rdf+xml",
    ".rss": "application/rss+xml",
    ".xml": "text/xml",
}
LIMIT_S = 60

pytestmark = pytest.mark.skipif(not FEEDS.is_dir(), reason="the shared feeds are not here")


class Verdict(NamedTuple):
    """What became of one file. `reason` None: read without remark; `refused`: entries without any text."""

    file: Path
    entries: int
    reason: Reason | None
    detail: str
    refused: tuple[Entry, ...] = ()


@pytest.fixture
async def deps() -> AsyncIterator[SourceDeps]:
    settings = Settings.model_validate({"http": {"allow_private_addresses": True, "per_host": 4, "timeout_s": LIMIT_S}})
    async with app.source_deps(settings, SystemClock()) as deps:
        yield deps


async def test_every_feed_gives_entries_or_a_named_reason(deps: SourceDeps) -> None:
    files = sorted(path for path in FEEDS.rglob("*") if path.is_file())
    with Web() as web:
        for number, file in enumerate(files):
            content_type = CONTENT_TYPES[file.suffix]
            web.answers[f"/{number}{file.suffix}"] = Answer(await asyncio.to_thread(file.read_bytes), content_type)
        async with asyncio.timeout(LIMIT_S):
            verdicts = await asyncio.gather(
                *(_poll(file, f"{web.url}/{number}{file.suffix}", deps) for number, file in enumerate(files))
            )
    _print(verdicts)
    assert [verdict for verdict in verdicts if not verdict.entries and verdict.reason is None] == []
    assert [entry for verdict in verdicts for entry in verdict.refused if entry.title.strip()] == []
    assert len(files) == 117
    assert sum(verdict.entries > 0 for verdict in verdicts) >= 100
    assert sum(verdict.entries for verdict in verdicts) > 1_400


async def _poll(file: Path, url: str, deps: SourceDeps) -> Verdict:
    feed = load("pipelines.ingest.sources", "feed")
    try:
        poll = await app.build_source(feed.Config(url=url), deps).poll({})
    except FetchError as error:
        return Verdict(file, 0, error.reason, error.detail)
    reason, detail = poll.note or (None, "")
    return Verdict(
        file, len(poll.entries), reason, detail, tuple(entry for entry in poll.entries if _is_refused(entry))
    )


def _is_refused(entry: Entry) -> bool:
    """Whether it makes no article; then it is a dead letter, with this reason."""
    plausibility = app.plausibility(Settings())
    try:
        article(entry, source="feed", fetched_at=SystemClock().now(), plausibility=plausibility)
    except RecordError as error:
        return error.reason is Reason.NO_TEXT
    return False


def _print(verdicts: list[Verdict]) -> None:
    """Shown by pytest -rP."""
    lines = [
        f"{verdict.file.relative_to(FEEDS)}: {verdict.entries} entries, {verdict.reason}: {verdict.detail}"
        for verdict in verdicts
        if verdict.reason is not None or verdict.refused
    ]
    with_entries = sum(verdict.entries > 0 for verdict in verdicts)
    lines.append(f"{with_entries} of {len(verdicts)} files give {sum(v.entries for v in verdicts)} entries")
    lines.append(f"without entries: {dict(Counter(str(v.reason) for v in verdicts if not v.entries))}")
    lines.append(
        f"with entries, and a remark: {dict(Counter(str(v.reason) for v in verdicts if v.entries and v.reason))}"
    )
    lines.append(f"entries without any text, refused: {sum(len(verdict.refused) for verdict in verdicts)}")
    sys.stdout.write("\n".join(lines) + "\n")
