"""The command that looks for spikes in plain files."""

import csv
import gzip
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from monitor.cli.files import opened
from monitor.cli.output import errors
from monitor.cli.times import Times
from monitor.errors import ConfigError, DatasetError, Mistake
from pipelines.detect.detectors import gamma_poisson
from pipelines.detect.events import Alert, Event, Run
from pipelines.detect.series import WARMUP_ROWS, Series
from pipelines.ingest.normalise import story_text

_SCORE = "anomaly_score"
_TIMES = ("timestamp", "time", "date", "datetime")
_EVENTS = ("time", "key", "neg", "story")
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
_NEGATIVE = {"0": False, "1": True, "false": False, "true": True}
_MOST_REMARKS = 5
_MOST = 1e100
_LINE_END = re.compile(rb"\r\n?|\n")


def register(app: typer.Typer) -> None:
    app.command()(detect)


def detect(
    series: Annotated[
        Path | None,
        typer.Option("--csv", help="Rows of timestamp,value with a header; - is standard input."),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", help="Rows of time,key,neg,story in time order; - is standard input."),
    ] = None,
    theta: Annotated[float, typer.Option(min=0.1, help="--events: score from which a key may alert.")] = 4.0,
    per_week: Annotated[
        float, typer.Option(min=0.0, help="--events: alerts a week that a key may earn by its usual peaks.")
    ] = 0.5,
    warmup_days: Annotated[
        float, typer.Option(min=0.0, help="--events: days after the first event in which nothing alerts.")
    ] = 7.0,
    warmup_rows: Annotated[
        int, typer.Option(min=0, help="--csv: first rows, which score 0 and are learned from.")
    ] = WARMUP_ROWS,
) -> None:
    """Look for spikes in a file: how unusual each value is, or who is written about badly more than usual.

    Reads and writes line by line, and judges each row by those before it. --csv prints the same rows with
    anomaly_score, from 0 to 1; from 0.5 on it is an alert. --events prints time,key,score, one row per alert; the same
    story on the same key counts once in 24 hours.
    """
    if (series is None) == (events is None):
        raise ConfigError("command line", [Mistake("FILE", "expected either --csv FILE or --events FILE")])
    if series is not None:
        with _lines(series) as lines:
            _score_rows(_called(series), lines, warmup_rows)
    elif events is not None:
        given = {"theta": theta, "per_week": max(per_week, 1e-12), "warmup_days": warmup_days}
        with _lines(events) as lines:
            _find_alerts(_called(events), lines, gamma_poisson.Config.model_validate(given | {"kind": "gamma_poisson"}))


# Series.


def _score_rows(name: str, lines: TextIO, warmup_rows: int) -> None:
    series = Series(warmup_rows)
    reader = csv.reader(_checked(name, lines), strict=True)
    header = next(_rows(name, reader), None)
    if header is None:
        raise DatasetError(f"{name}: is empty; expected a header with timestamp and value")
    time_at, value_at = _columns_of_series(name, header)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*header, _SCORE])
    remarks = _Remarks(name)
    times = Times()
    before: float | None = None
    rows = 0
    for row in _rows(name, reader):
        rows += 1
        where = f"{name}: line {reader.line_num}"
        if len(row) != len(header):
            raise DatasetError(f"{where}: {len(row)} fields; the header has {len(header)}")
        time_s = times.read(where, row[time_at])
        if before is not None and time_s < before:
            remarks.add(reader.line_num, "lies before the row above it; scored in the order given")
        before = time_s
        value = _value(where, row[value_at])
        if value is None:
            remarks.add(reader.line_num, "has no value; scored 0, and not learned")
        score = 0.0 if value is None else series.score(value)
        writer.writerow([*row, f"{score:.6f}"])
        sys.stdout.flush()
    remarks.sum_up()
    if not rows:
        _remark(f"{name}: has no row below the header; nothing to score")
    elif rows <= warmup_rows:
        _remark(
            f"{name}: all {rows} rows are within the warm-up of {warmup_rows}, and score 0; give fewer --warmup-rows"
        )


def _columns_of_series(name: str, header: Sequence[str]) -> tuple[int, int]:
    names = [field.strip().lower() for field in header]
    if _SCORE in names:
        raise DatasetError(f"{name}: line 1: has a column {_SCORE} already; remove it")
    time = next((wanted for wanted in _TIMES if wanted in names), None)
    if time is None or "value" not in names:
        raise DatasetError(f"{name}: line 1: expected a header with timestamp and value, found {','.join(header)!r}")
    _require_one_each(f"{name}: line 1", names, (time, "value"))
    return names.index(time), names.index("value")


def _require_one_each(where: str, names: Sequence[str], needed: Sequence[str]) -> None:
    for column in needed:
        if names.count(column) > 1:
            raise DatasetError(f"{where}: has {names.count(column)} columns {column}; remove or rename all but one")


def _value(where: str, text: str) -> float | None:
    """None for a gap."""
    if text.strip().lower() in _MISSING:
        return None
    try:
        value = float(text)
    except ValueError:
        raise DatasetError(f"{where}: value {text!r} is no number; leave it empty where it is missing") from None
    if abs(value) > _MOST and math.isfinite(value):
        raise DatasetError(f"{where}: value {text!r} is too large to reckon with; give the series in larger units")
    return value if math.isfinite(value) else None


class _Remarks:
    """What is odd and can be lived with goes to standard error: the first few, then how many more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def add(self, line: int, what: str) -> None:
        self._count += 1
        if self._count <= _MOST_REMARKS:
            _remark(f"{self._name}: line {line} {what}")

    def sum_up(self) -> None:
        if self._count > _MOST_REMARKS:
            _remark(f"{self._name}: {self._count - _MOST_REMARKS} more lines of that kind")


# Events.


def _find_alerts(name: str, lines: TextIO, config: gamma_poisson.Config) -> None:
    run = Run(gamma_poisson.build(config), late_s=config.all_horizons_min[-1] * 60)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["time", "key", "score"])
    sys.stdout.flush()
    newest_s, shown = -math.inf, ""
    for where, text, event in _events(name, lines):
        try:
            alerts = run.take(event)
        except ValueError as error:
            raise DatasetError(f"{where}: {error}") from None
        _write(writer, shown, alerts)
        if event.time_s > newest_s:
            newest_s, shown = event.time_s, text
    _write(writer, shown, run.finish())


def _write(writer: Any, shown: str, alerts: Sequence[Alert]) -> None:
    for alert in alerts:
        writer.writerow([shown, alert.finding.key, f"{alert.finding.score.value:.3f}"])
    if alerts:
        sys.stdout.flush()


def _events(name: str, lines: TextIO) -> Iterator[tuple[str, str, Event]]:
    """Each event, with where it stands and the text of its time."""
    reader = csv.reader(_checked(name, lines), strict=True)
    places: Callable[[str], int] = _EVENTS.index
    width = len(_EVENTS)
    times = Times()
    number = -1
    headed = False
    for number, row in enumerate(_rows(name, reader)):
        where = f"{name}: line {reader.line_num}"
        if number == 0:
            names = [field.strip().lower() for field in row]
            if set(_EVENTS) <= set(names):
                _require_one_each(where, names, _EVENTS)
                places, width, headed = names.index, len(names), True
                continue
            if names[0] in _TIMES:
                raise DatasetError(f"{where}: expected the columns {','.join(_EVENTS)}, found {','.join(row)!r}")
        if len(row) != width:
            raise DatasetError(f"{where}: {len(row)} fields; expected {width}: {','.join(_EVENTS)}")
        text, key, negative, story = (row[places(column)].strip() for column in _EVENTS)
        time_s = times.read(where, text)
        if not key:
            raise DatasetError(f"{where}: the key is empty; expected a name")
        if negative.lower() not in _NEGATIVE:
            raise DatasetError(f"{where}: neg is {negative!r}; expected 0 or 1")
        # One without a story is a story of its own.
        told = _normal(story) if story else f"\n{reader.line_num}"
        yield where, text, Event(time_s, key, _NEGATIVE[negative.lower()], told)
    if number < 0:
        raise DatasetError(f"{name}: is empty; expected rows of {','.join(_EVENTS)}")
    if headed and not number:
        _remark(f"{name}: has no row below the header; nothing to look for")


def _normal(story: str) -> str:
    """An id as it is; of a title, what outlets that repeat it have in common."""
    return story_text(story) or story if " " in story else story


# Both.


def _rows(name: str, reader: Any) -> Iterator[list[str]]:
    """The rows that are not blank."""
    try:
        for row in reader:
            if row and any(field.strip() for field in row):
                yield row
    except csv.Error as error:
        raise DatasetError(f"{name}: line {reader.line_num}: {error}; expected comma-separated values") from None


def _checked(name: str, lines: TextIO) -> Iterator[str]:
    """The lines, one by one as they come."""
    number = 0
    try:
        for line in lines:
            number += 1
            yield line
    except UnicodeDecodeError as error:
        # The text is decoded some lines ahead.
        number += 1 + len(_LINE_END.findall(error.object[: error.start]))
        raise DatasetError(f"{name}: line {number}: is not UTF-8 text; save the file as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "is cut off" if isinstance(error, EOFError) else f"is damaged: {error}"
        raise DatasetError(f"{name}: line {number + 1}: {what}; fetch or compress the file again") from error
    except OSError as error:
        raise _unread(f"{name}: line {number + 1}", error) from error


@contextmanager
def _lines(file: Path) -> Iterator[TextIO]:
    with ExitStack() as stack:
        try:
            lines = stack.enter_context(opened(file, newline=""))
        except OSError as error:
            raise _unread(_called(file), error) from error
        yield lines


def _called(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


def _unread(where: str, error: OSError) -> DatasetError:
    return DatasetError(f"{where}: {error.strerror or error}; expected a file that can be read, or - (standard input)")


def _remark(text: str) -> None:
    errors.print(f"monitor: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
