"""RSS, Atom, RDF and JSON Feed, whichever the address gives."""

from datetime import timedelta
from typing import Annotated, Literal, Self

import anyio
import anyio.to_process
from anyio import BrokenWorkerProcess, CapacityLimiter
from pydantic import AfterValidator, Field

from monitor.clock import Clock
from monitor.errors import FetchError, Reason
from pipelines.ingest.fetch import Fetcher, Validators
from pipelines.ingest.parse import Parsed, Unreadable, parse
from pipelines.ingest.source import Cursor, Entry, Note, Poll, Source, SourceConfig, SourceDeps


def _web_address(value: str) -> str:
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError("expected an http or https URL")
    return value


class Config(SourceConfig):
    """A feed by its address."""

    kind: Literal["feed"] = "feed"
    url: Annotated[str, AfterValidator(_web_address)] = Field(description="address of the feed")

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        return cls(url=f"http://127.0.0.1:9/{secret}.xml")

    @property
    def address(self) -> str:
        return self.url


class Feed:
    """Fetches on condition that the body changed, and parses in another process.

    That process can be stopped: a body that takes longer than `parse_timeout_s`, or more memory than it may have,
    costs that feed this poll and nobody else anything.
    """

    def __init__(
        self,
        config: Config,
        fetcher: Fetcher,
        clock: Clock,
        *,
        parse_timeout_s: float,
        parsers: CapacityLimiter,
        max_entries: int,
    ) -> None:
        self._config = config
        self._fetcher = fetcher
        self._clock = clock
        self._parse_timeout_s = parse_timeout_s
        self._parsers = parsers
        self._max_entries = max_entries

    async def poll(self, cursor: Cursor) -> Poll:
        etag, last_modified = cursor.get("etag"), cursor.get("last_modified")
        fetched = await self._fetcher.fetch(
            self._config.url,
            Validators(
                etag if isinstance(etag, str) else None, last_modified if isinstance(last_modified, str) else None
            ),
        )
        ttl_s = 0.0
        entries: tuple[Entry, ...] = ()
        note: Note | None = None
        if fetched.body is not None:
            parsed = await self._parse(fetched.body, fetched.content_type, fetched.url)
            entries, note, ttl_s = parsed.entries, parsed.note, parsed.ttl_s
        validators = fetched.validators
        if note is not None and note.reason is Reason.MALFORMED:
            validators = Validators()  # part of it may be missing: "not modified" would be no good answer
        fresh_s = max(fetched.max_age_s or 0.0, ttl_s)
        return Poll(
            entries=entries,
            cursor={"etag": validators.etag, "last_modified": validators.last_modified},
            next_at=self._clock.now() + timedelta(seconds=fresh_s) if fresh_s else None,
            moved_to=fetched.moved_to,
            note=note,
            modified=fetched.body is not None,
        )

    async def _parse(self, body: bytes, content_type: str, url: str) -> Parsed:
        try:
            with anyio.fail_after(self._parse_timeout_s):
                parsed = await anyio.to_process.run_sync(
                    parse, body, content_type, url, self._max_entries, cancellable=True, limiter=self._parsers
                )
        except TimeoutError as error:
            raise FetchError(Reason.MALFORMED, f"parsing took over {self._parse_timeout_s:g} s") from error
        except (BrokenWorkerProcess, MemoryError) as error:
            raise FetchError(Reason.MALFORMED, "parsing took more memory than it may") from error
        if isinstance(parsed, Unreadable):
            raise FetchError(parsed.reason, parsed.detail)
        return parsed


def build(config: Config, deps: SourceDeps) -> Source:
    return Feed(
        config,
        deps.fetcher,
        deps.clock,
        parse_timeout_s=deps.settings.parse_timeout_s,
        parsers=deps.parsers,
        max_entries=deps.settings.max_entries,
    )
