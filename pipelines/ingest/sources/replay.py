"""An archive of articles, one JSON object a line, plain or gzipped."""

import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, Self, cast

import anyio.to_thread
from pydantic import Field, PositiveInt

from monitor.errors import FetchError, Reason, RecordError
from pipelines.ingest.source import Cursor, Entry, Poll, Refused, Source, SourceConfig, SourceDeps

_MAX_LINE_BYTES = 2_000_000


class Config(SourceConfig):
    """An archive by its path.

    Each line may have: title, description or summary, link or url, guid or id, source, date_published or published,
    language. A line needs a title or a description; all else may be missing.
    """

    is_live: ClassVar[bool] = False

    kind: Literal["replay"] = "replay"
    path: Path = Field(description=".jsonl or .jsonl.gz file")
    chunk: PositiveInt = Field(500, description="lines read in one poll")

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        return cls(path=Path(f"{secret}.jsonl"))

    @property
    def address(self) -> str:
        return str(self.path)


class Replay:
    """Reads the archive on from where the cursor stands; its file stays open between polls that follow each other."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rest: Iterator[Entry | Refused] = iter(())
        self._line: int | None = None

    async def poll(self, cursor: Cursor) -> Poll:
        line = cursor.get("line")
        start = line if isinstance(line, int) else 0
        return await anyio.to_thread.run_sync(self._read, start)

    def _read(self, start: int) -> Poll:
        entries: list[Entry] = []
        refused: list[Refused] = []
        count = 0
        if self._line != start:
            self._rest = islice(read(self._config.path), start, None)
        for item in islice(self._rest, self._config.chunk):
            count += 1
            if isinstance(item, Entry):
                entries.append(item)
            else:
                refused.append(item)
        # At the end the file is opened anew next time: it may have grown.
        self._line = start + count if count else None
        return Poll(tuple(entries), {"line": start + count}, refused=tuple(refused))


def build(config: Config, deps: SourceDeps) -> Source:  # noqa: ARG001  # every source is built alike
    return Replay(config)


def read(path: Path) -> Iterator[Entry | Refused]:
    """The items of an archive, in order; blank lines are passed over.

    Raises: FetchError, if the file cannot be read to its end.
    """
    try:
        number = 0
        with _open(path) as lines:
            while line := lines.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > _MAX_LINE_BYTES:
                    yield Refused(
                        line[:2000],
                        RecordError(Reason.TOO_LARGE, f"{path.name}, line {number}: over {_MAX_LINE_BYTES} bytes"),
                    )
                    while line and not line.endswith(b"\n"):
                        line = lines.readline(_MAX_LINE_BYTES)
                elif line.strip():
                    yield _item(line, f"{path.name}, line {number}")
    except FileNotFoundError as error:
        raise FetchError(Reason.CLIENT_ERROR, f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise FetchError(Reason.MALFORMED, f"{path}: {error}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path)) if compressed else path.open("rb")


def _item(line: bytes, where: str) -> Entry | Refused:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Refused(line, RecordError(Reason.MALFORMED, f"{where}: not JSON: {error}"))
    if not isinstance(item, dict):
        return Refused(line, RecordError(Reason.MALFORMED, f"{where}: not a JSON object"))
    return Entry(
        title=_text(item, "title") or "",
        summary=_text(item, "description", "summary", "content") or "",
        url=_text(item, "link", "url"),
        guid=_text(item, "guid", "id"),
        published=_text(item, "date_published", "published_at", "published"),
        language=_text(item, "language"),
        source=_text(item, "source"),
        raw=item,
    )


def _text(item: dict[str, Any], *names: str) -> str | None:
    return next((value for name in names if isinstance(value := item.get(name), str) and value), None)
