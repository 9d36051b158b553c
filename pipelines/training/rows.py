"""Labelled rows, read from files and data sets as people keep them."""

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, Final

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError
from pipelines.classify.text import normalise
from pipelines.training import files

_ALIASES: Final = {"bearish": "negative", "bullish": "positive"}
_TEXT: Final = ("text", "title", "sentence", "headline")
_KINDS: Final[Mapping[str, type[Topic | Sentiment]]] = {"topic": Topic, "sentiment": Sentiment}
_WANTED: Final = (*_TEXT, *_KINDS, "label")
_EMPTY: Final = frozenset({"nan", "none", "null", "na", "n/a", "<na>"})
_NUMBER: Final = re.compile(r"(-?[0-9]+)(?:\.0*)?")
_SHAPE: Final = '{"topic": {"0": "Dividend", ...}, "sentiment": {"0": "negative", ...}}'

_REPR: Final = reprlib.Repr()  # cells can be long, and nested nearly as deep as Python goes
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


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
        """From a JSON file of two tables, or one of them: `{"topic": {"0": "Analyst Update"}, "sentiment": {...}}`.

        Raises: DatasetError if it cannot be read as that, or a name in it is not a label.
        """
        if path is None:
            return cls({}, {})
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise DatasetError(f"{path}: {files.NOT_UTF8}") from None
        except OSError as error:
            raise DatasetError(f"{path}: not a JSON file of label names: {error.strerror or error}") from None
        pairs = files.from_json(str(path), text)
        if not isinstance(pairs, tuple) or not pairs:
            raise DatasetError(f"{path}: expected label names as {_SHAPE}")
        for head, table in pairs:
            if head not in _KINDS or not isinstance(table, tuple):
                raise DatasetError(f"{path}, {_shown(head)}: expected label names as {_SHAPE}")
        tables = {head: _table(f"{path}, {head}", table, _KINDS[head]) for head, table in _once(str(path), pairs)}
        return cls(tables.get("topic", {}), tables.get("sentiment", {}))


@dataclass(frozen=True, slots=True)
class File:
    """A labelled file: `head` is the one question its column `label` answers, None for columns of both names."""

    name: str
    head: str | None = None


def read(name: str, labels: Labels, *, only: str | None = None) -> list[Row]:
    """The rows of a CSV, JSONL or Parquet file, or of a Hugging Face data set (`owner/name`, or `owner/name:split`).

    A column `topic` or `sentiment` holds labels, by name or by a number that `labels` explains; an empty cell, or in
    JSONL none, means not labelled. With `only`, the labels of that head may stand in a column `label` instead. Texts
    are normalised; those with nothing left to read are skipped.

    Raises: DatasetError naming the file, the row and the column.
    """
    found: list[Row] = []
    text, answered = "", False
    first: Mapping[str, Any] = {}
    for place, raw in files.rows(name, _WANTED):
        if not text:
            first = raw
            text = _text_column(f"{name}, {place}" if files.form(name) == ".jsonl" else name, raw)
        cell = raw.get(text)
        if not isinstance(cell, str):
            lacks = "no text" if text in raw else f"no text; the row has {_listed(raw)}"
            wrong = lacks if cell is None else f"{_shown(cell)} is not a text"
            raise DatasetError(f"{name}, {place}, column {text}: {wrong}")
        columns = _label_columns(raw, only)
        answered = answered or bool(columns)
        plain = normalise(cell)
        if not plain:
            continue
        known = {
            head: _label(f"{name}, {place}, column {column}", raw[column], _KINDS[head], getattr(labels, head))
            for head, column in columns.items()
        }
        if any(known.values()):
            found.append(Row(plain, **known))
    if first and not answered:
        wanted = f"{only} or label" if only else "topic or sentiment"
        raise DatasetError(f"{name}: no column {wanted}; it has {_listed(first)}")
    if not found:
        raise DatasetError(f"{name}: no labelled row in it")
    return found


def _text_column(where: str, raw: Mapping[str, Any]) -> str:
    text = next((column for column in _TEXT if column in raw), None)
    if text is None:
        raise DatasetError(f"{where}: no column text; it has {_listed(raw)}")
    return text


def _label_columns(raw: Mapping[str, Any], only: str | None) -> dict[str, str]:
    """Which column of a row holds the label of which head."""
    columns = {head: head for head in _KINDS if head in raw and only in (None, head)}
    return {only: "label"} if only and not columns and "label" in raw else columns


def _label(where: str, cell: object, kind: type[Topic | Sentiment], names: Mapping[str, str]) -> Any:
    said = _said(cell)
    if not said:
        return None
    label = _known(kind, names.get(said, said))
    if label is None:
        raise DatasetError(f"{where}: unknown label {_shown(cell)}{_hint(said, names)}; known: {', '.join(kind)}")
    return label


def _said(cell: object) -> str:
    """A label as text, a whole number without the `.0` that a column with gaps gives it; empty if there is none."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return _number(str(cell)) if isinstance(cell, str | Number) else _shown(cell)


def _number(said: str) -> str:
    said = said.strip()
    number = _NUMBER.fullmatch(said)
    return number[1] if number else said


def _hint(said: str, names: Mapping[str, str]) -> str:
    if said.lower() in _EMPTY:
        return " (leave the cell empty if there is none)"
    if not _NUMBER.fullmatch(said):
        return ""
    return " (the file of --labels does not name it)" if names else " (a number needs --labels)"


def _known(kind: type[Topic | Sentiment], name: str) -> Topic | Sentiment | None:
    wanted = _ALIASES.get(name.strip().lower(), name.strip()).lower()
    return next((known for known in kind if known.value.lower() == wanted), None)


def _table(where: str, pairs: Iterable[tuple[str, object]], kind: type[Topic | Sentiment]) -> dict[str, str]:
    table: dict[str, str] = {}
    for number, name in _once(where, [(_number(key), name) for key, name in pairs]):
        if not isinstance(name, str) or _known(kind, name) is None:
            raise DatasetError(f"{where} {number}: unknown label {_shown(name)}; known: {', '.join(kind)}")
        table[number] = name
    return table


def _once(where: str, pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The pairs. Raises: DatasetError if one name stands there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DatasetError(f"{where}: {_shown(key)} stands there twice")
        found[key] = value
    return found.items()


def _listed(columns: Iterable[str]) -> str:
    """Names of columns, for a message: of bytes taken for a header too."""
    names = [name if name.isprintable() and len(name) <= 60 else _shown(name) for name in columns]
    return ", ".join([*names[:20], *(["..."] if len(names) > 20 else [])]) or "none"


def _shown(cell: object) -> str:
    return _REPR.repr(cell)
