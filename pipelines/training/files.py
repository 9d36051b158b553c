"""The rows of a file as it lies: CSV and JSONL, plain or gzip, Parquet, or a data set at Hugging Face."""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

from monitor.errors import DatasetError

FORMATS: Final = (".csv", ".jsonl", ".parquet")

_PACKED: Final = (".csv", ".jsonl")
_DELIMITERS: Final = ",;\t|"
_LONGEST: Final = 1 << 24  # characters of one line or cell: a packed file can hold a line that fills the memory
NOT_UTF8: Final = "not UTF-8; save it as UTF-8"


def form(name: str) -> str | None:
    """Which of FORMATS a file has by its name, None if none; CSV and JSONL may be packed, as in `a.csv.gz`."""
    path = Path(name.lower())
    if path.suffix == ".gz":
        return inner if (inner := Path(path.stem).suffix) in _PACKED else None
    return path.suffix if path.suffix in FORMATS else None


def rows(name: str, wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with its place, such as `row 3`, counted from 1 after the header (in JSONL: by line).

    `wanted` are the columns to read, in lower case. A column is found whatever its case and the blanks around its
    name; of the others a row may tell the name alone. Only in JSONL does one row have other columns than the next.

    Raises: DatasetError naming the file, and the row where it is one.
    """
    path = Path(name)
    kind = form(name)
    try:
        if path.is_dir():
            raise DatasetError(f"{name}: is a folder, not a file")
        if kind is None and not path.exists():
            yield from _hub(name, wanted)
            return
        if kind is None:
            raise DatasetError(f"{name}: not one of {', '.join(FORMATS)}, the first two also as .gz")
        if not path.is_file():
            raise DatasetError(f"{name}: {'not a plain file' if path.exists() else 'no such file'}")
        if not path.stat().st_size:
            raise DatasetError(f"{name}: is empty")
        yield from {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[kind](name, wanted)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{name}: not a whole gzip file: {error}") from None
    except OSError as error:
        raise DatasetError(f"{name}: cannot be read: {error.strerror or error}") from None


def from_json(where: str, text: str) -> Any:
    """What a JSON text says, each object as a tuple of its pairs, so that a name given twice can be seen.

    Raises: DatasetError naming `where`.
    """
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise DatasetError(f"{where}: not JSON: {error.msg} ({line}column {error.colno})") from None
    except RecursionError:
        raise DatasetError(f"{where}: not JSON that can be read: nested too deep") from None
    except ValueError:
        raise DatasetError(f"{where}: not JSON that can be read: a number has too many digits") from None


def _csv(name: str, wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    columns: list[str] | None = None
    with _opened(name) as file:
        for place, cells in _records(name, file, wanted):
            if columns is None:
                columns = _columns(name, cells, wanted)
            elif len(cells) != len(columns):
                more = "more" if len(cells) > len(columns) else "fewer"
                told = f"{more} cells than the header has columns ({len(cells)}, not {len(columns)})"
                raise DatasetError(f"{name}, {place}: {told}")
            else:
                yield place, dict(zip(columns, cells, strict=True))
    if columns is None:
        raise DatasetError(f"{name}: is empty")


def _records(name: str, file: TextIO, wanted: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """The cells of the header and of each row that is not blank."""
    csv.field_size_limit(_LONGEST)
    place, number = "header", 0
    try:
        lines = _lines(file)
        first = next((line for line in lines if line.strip()), "")
        for cells in csv.reader(chain([first], lines), delimiter=_delimiter(first, wanted), strict=True):
            if len(cells) > 1 or "".join(cells).strip():
                yield place, cells
                number += 1
                place = f"row {number}"
    except csv.Error as error:
        raise DatasetError(
            f"{name}, {place}: {error}; is there a quotation mark too few or too many, or one not doubled?"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{name}, {place}: {error}") from None


def _delimiter(header: str, wanted: Collection[str]) -> str:
    """The first with which the header has a wanted column; a comma if there is none."""
    for delimiter in _DELIMITERS:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        if any(_folded(cell) in wanted for cell in cells):
            return delimiter
    return ","


def _jsonl(name: str, wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    place, number = "row 1", 1
    with _opened(name) as file:
        try:
            for line in _lines(file):
                if line.strip():
                    where = f"{name}, {place}"
                    pairs = from_json(where, line.strip())
                    if not isinstance(pairs, tuple):
                        raise DatasetError(f'{where}: not an object, such as {{"text": "...", "topic": "..."}}')
                    columns = _columns(where, [key for key, _ in pairs], wanted)
                    yield place, dict(zip(columns, (cell for _, cell in pairs), strict=True))
                number += 1
                place = f"row {number}"
        except ValueError as error:
            raise DatasetError(f"{name}, {place}: {error}") from None


def _opened(name: str) -> TextIO:
    opened: Callable[..., Any] = gzip.open if name.lower().endswith(".gz") else open
    # surrogateescape, since a decoder that reads ahead cannot tell in which row the wrong byte stands
    file: TextIO = opened(name, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return file


def _lines(file: TextIO) -> Iterator[str]:
    """Raises: ValueError telling what is wrong with the next line."""
    while line := file.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise ValueError(f"a line of more than {_LONGEST} characters")
        try:
            line.encode()
        except UnicodeEncodeError:
            raise ValueError(NOT_UTF8) from None
        yield line


def _parquet(name: str, wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DatasetError(f"{name}: to read a Parquet file install the extra training") from None

    try:
        with ParquetFile(name) as file:
            written = file.schema_arrow.names
            columns = dict(zip(written, _columns(name, written, wanted), strict=True))
            # What nobody asks for may hold what Python cannot: a date past the year 9999
            chosen = [column for column, known in columns.items() if known in wanted]
            unread = dict.fromkeys(columns.values())
            if not chosen:
                yield "row 1", unread
                return
            number = 0
            for batch in file.iter_batches(columns=chosen):
                try:
                    read = batch.to_pylist()
                except (ValueError, OverflowError) as error:
                    reach = f"rows {number + 1} to {number + batch.num_rows}"
                    raise DatasetError(f"{name}, {reach}: cannot be read: {error}") from None
                for row in read:
                    number += 1
                    yield f"row {number}", {**unread, **{columns[column]: cell for column, cell in row.items()}}
    except ArrowException as error:
        raise DatasetError(f"{name}: not a Parquet file: {error}") from None


def _hub(name: str, wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise DatasetError(f"{name}: no such file; to read a Hugging Face data set install the extra hub") from None
    dataset, _, split = name.partition(":")
    try:
        found = load_dataset(dataset, split=split or "train")
    except Exception as error:  # noqa: BLE001  a hub, a network and a data set's own script can each fail in their way
        raise DatasetError(f"{name}: neither a file nor a data set that can be had: {error}") from None
    for number, row in enumerate(found, start=1):
        yield f"row {number}", dict(zip(_columns(name, row, wanted), row.values(), strict=True))


def _folded(column: str) -> str:
    return column.strip().casefold()


def _columns(where: str, columns: Iterable[str], wanted: Collection[str]) -> list[str]:
    """The names of columns, those that are wanted as they are wanted.

    Raises: DatasetError if two are the same wanted one: no telling which of them is meant.
    """
    found = [folded if (folded := _folded(column)) in wanted else column for column in columns]
    for column in wanted:
        if found.count(column) > 1:
            raise DatasetError(f"{where}: two columns named {column}; rename or remove one")
    return found
