"""Looks an archive through before anything starts: how much there is to do, and whether it can be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from monitor.errors import DatasetError, FetchError
from pipelines.ingest.source import Refused
from pipelines.ingest.sources.replay import read

_REMEDY = "expected .jsonl or .jsonl.gz with one article a line, as monitor replay reads it"


class Survey(NamedTuple):
    """`items`: lines that are not blank. `unreadable`: of these, no article; `first_unreadable` tells where and why."""

    items: int
    unreadable: int
    first_unreadable: str | None


def survey(files: Sequence[Path]) -> Survey:
    """Reads all of it once.

    Raises: DatasetError, naming file and line, if a file cannot be read to its end or holds no article at all.
    """
    items = unreadable = 0
    first: str | None = None
    for file in files:
        if not file.is_file():
            what = "no such file" if not file.exists() else "not a file that can be read more than once"
            raise DatasetError(f"{file}: {what}; {_REMEDY}")
        mine = refused = 0
        told: str | None = None
        try:
            for item in read(file):
                mine += 1
                if isinstance(item, Refused):
                    refused += 1
                    told = told or item.error.detail
        except FetchError as error:
            damage = error.detail.removeprefix(f"{file}: ")
            raise DatasetError(f"{file}, after line {mine}: {damage}; fetch the file again, or cut it there") from error
        if refused == mine:
            raise DatasetError(f"{file}: {told or 'line 1: the file is empty'}; {_REMEDY}")
        items += mine
        unreadable += refused
        first = first or told
    return Survey(items, unreadable, first)
