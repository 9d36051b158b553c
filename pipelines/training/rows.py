"""Labelled rows, read from files and data sets as people keep them."""

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError
from pipelines.classify.text import normalise

_ALIASES: Final = {"bearish": "negative", "bullish": "positive"}
_TEXT: Final = ("text", "title", "sentence", "headline")
FORMATS: Final = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One text with what is known of it. None means not labelled for that question, so not learnt from."""

    text: str
    topic: Topic | None = None
    sentiment: Sentiment | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """The names behind the numbers of a labelled file. Numbers that are not listed are refused."""

    topic: Mapping[str, str]
    sentiment: Mapping[str, str]

    @classmethod
    def read(cls, path: Path | None) -> "Labels":
        """From a JSON file of two tables, `{"topic": {"0": "Analyst Update", ...}, "sentiment": {...}}`.

        Raises: DatasetError if it cannot be read as that.
        """
        if path is None:
            return cls({}, {})
        try:
            tables = json.loads(path.read_text(encoding="utf-8"))
            named = {head: {str(k): str(v) for k, v in tables.get(head, {}).items()} for head in ("topic", "sentiment")}
        except (OSError, ValueError, AttributeError) as error:
            raise DatasetError(f"{path}: not a JSON file of label names: {error}") from None
        return cls(named["topic"], named["sentiment"])


@dataclass(frozen=True, slots=True)
class File:
    """A labelled file: `head` is the one question its column `label` answers, None for columns of both names."""

    name: str
    head: str | None = None


def read(name: str, labels: Labels, *, only: str | None = None) -> list[Row]:
    """The rows of a CSV, JSONL or Parquet file, or of a Hugging Face data set (`owner/name`, or `owner/name:split`).

    A column `topic` or `sentiment` holds labels, by name or by a number that `labels` explains; an empty cell means
    not labelled. With `only`, the labels of that head may stand in a column `label` instead. Texts are normalised;
    those with nothing left to read are skipped.

    Raises: DatasetError naming the file, the row and the column.
    """
    found: list[Row] = []
    heads: dict[str, str] | None = None
    for place, raw in _raw(name):
        if heads is None:
            heads = _columns(name, raw, only)
        text = raw.get(heads["text"])
        if not isinstance(text, str):
            raise DatasetError(f"{name}, {place}, column {heads['text']}: {_shown(text)} is not a text")
        plain = normalise(text)
        if not plain:
            continue
        topic = _label(name, place, heads.get("topic"), raw, Topic, labels.topic)
        sentiment = _label(name, place, heads.get("sentiment"), raw, Sentiment, labels.sentiment)
        if topic or sentiment:
            found.append(Row(plain, topic, sentiment))
    if not found:
        raise DatasetError(f"{name}: no labelled row in it")
    return found


def _columns(name: str, raw: Mapping[str, Any], only: str | None) -> dict[str, str]:
    """Which column holds what."""
    text = next((column for column in _TEXT if column in raw), None)
    if text is None:
        raise DatasetError(f"{name}: no column text; it has {', '.join(map(str, raw)) or 'none'}")
    columns = {head: head for head in ("topic", "sentiment") if head in raw and only in (None, head)}
    if only and not columns and "label" in raw:
        columns = {only: "label"}
    if not columns:
        wanted = f"{only} or label" if only else "topic or sentiment"
        raise DatasetError(f"{name}: no column {wanted}; it has {', '.join(map(str, raw))}")
    return {"text": text, **columns}


def _label(
    name: str, place: str, column: str | None, raw: Mapping[str, Any], kind: Any, names: Mapping[str, str]
) -> Any:
    if column is None:
        return None
    cell = raw.get(column)
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    said = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    label = names.get(said, said)
    label = _ALIASES.get(label.lower(), label)
    for known in kind:
        if known.value.lower() == label.lower():
            return known
    hint = " (a number needs --labels)" if said.isdigit() and not names else ""
    raise DatasetError(
        f"{name}, {place}, column {column}: unknown label {_shown(cell)}{hint}; known: {', '.join(kind)}"
    )


def _shown(cell: object) -> str:
    said = repr(cell)
    return said if len(said) <= 60 else said[:57] + "..."


def _raw(name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    path = Path(name)
    if path.suffix.lower() in FORMATS:
        if not path.is_file():
            raise DatasetError(f"{name}: no such file")
        reader = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix.lower()]
        try:
            yield from reader(path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{name}: cannot be read: {error}") from None
    elif path.exists():
        raise DatasetError(f"{name}: not one of {', '.join(FORMATS)}")
    else:
        yield from _hub(name)


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for number, row in enumerate(reader, start=1):
            if None in row:
                raise DatasetError(f"{path}, row {number}: more cells than the header has columns")
            yield f"row {number}", row


def _jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{path}, row {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise DatasetError(f"{path}, row {number}: {_shown(row)} is not an object")
            yield f"row {number}", row


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DatasetError(f"{path}: to read a Parquet file install the extra training") from None

    try:
        with ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except ArrowException as error:
        raise DatasetError(f"{path}: not a Parquet file: {error}") from None


def _hub(name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise DatasetError(f"{name}: no such file; to read a Hugging Face data set install the extra hub") from None
    dataset, _, split = name.partition(":")
    try:
        rows = load_dataset(dataset, split=split or "train")
    except Exception as error:  # noqa: BLE001  a hub, a network and a data set's own script can each fail in their way
        raise DatasetError(f"{name}: neither a file nor a data set that can be had: {error}") from None
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row
