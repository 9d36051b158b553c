"""What brings articles in."""

from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol

from anyio import CapacityLimiter
from pydantic import Field, JsonValue, PositiveFloat

from monitor.clock import Clock
from monitor.errors import Reason, RecordError
from monitor.plugins import PluginConfig
from monitor.settings import IngestSettings
from pipelines.ingest.fetch import Fetcher

Cursor = dict[str, JsonValue]
"""Where a source resumes: whatever it needs, as JSON."""


class SourceConfig(PluginConfig):
    """What every source can be told."""

    is_live: ClassVar[bool] = True
    """Whether a poll tells what is published now. An archive does not: reading it shows no exposure."""

    group: str = Field("", description="free label, for lists")
    interval_s: PositiveFloat | None = Field(None, description="poll interval; unset: ingest.interval_s")
    enabled: bool = Field(True, description="false: kept in the list, not polled")

    @property
    def address(self) -> str:
        """What is read: a cursor belongs to it, and starts afresh when it changes."""
        raise NotImplementedError


class Entry(NamedTuple):
    """One item as its source gives it, before cleaning. `raw` is what it was read from, for the dead letters."""

    title: str
    summary: str
    url: str | None
    guid: str | None
    published: str | None
    language: str | None
    source: str | None
    raw: dict[str, Any]


class Refused(NamedTuple):
    """An item that could not be read as an entry: its original bytes, and why."""

    raw: bytes
    error: RecordError


class Note(NamedTuple):
    """Why a readable source has no entries, or a defect that did not prevent reading them."""

    reason: Reason
    detail: str


class Poll(NamedTuple):
    """What one poll found, where to resume, and when the publisher asks to come again.

    `next_at` None: the publisher does not say. `moved_to`: a permanent redirect. `modified` False: the source is as
    it was at the last poll, and so is what was noted of it.
    """

    entries: tuple[Entry, ...]
    cursor: Cursor
    refused: tuple[Refused, ...] = ()
    next_at: datetime | None = None
    moved_to: str | None = None
    note: Note | None = None
    modified: bool = True


class Source(Protocol):
    """Brings entries in. Sleeping, backoff and the saved cursor belong to the ingest loop."""

    async def poll(self, cursor: Cursor) -> Poll:
        """Raises: FetchError, with the reason; `.retry_after_s` where the publisher named a time."""
        ...


class SourceDeps(NamedTuple):
    """What sources may use. `parsers` limits the processes in which bodies are parsed."""

    fetcher: Fetcher
    clock: Clock
    settings: IngestSettings
    parsers: CapacityLimiter
