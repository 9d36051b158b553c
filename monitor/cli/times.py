"""Times as files of other people's rows have them: read if they can mean one thing only, and else refused."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from monitor.errors import DatasetError

EXPECTED = "expected ISO 8601 such as 2026-03-10T14:00+01:00, or seconds or milliseconds since 1970"

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"(\d{8})(?:\.0*)?", re.ASCII)
_MINUTE = re.compile(r"(\d{12})(?:\.0*)?", re.ASCII)
# `fromisoformat` takes any character before the hour: of the date with a zone 2026-03-10-05:00 it makes five o'clock.
_ISO = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d-\d|\d{4}W\d{3})"
    r"(?:[T ](?P<time>\d\d(?::?\d\d){0,2}(?:[.,]\d+)?) ?(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d){0,2})?)?",
    re.ASCII | re.IGNORECASE,
)
# As spreadsheets write it: with the year first no two readers differ.
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d\d?)\2(\d\d?)(?:[T ](\d\d?)(:.*))?", re.ASCII | re.IGNORECASE)
# RFC 2822 with a zone that is the same everywhere: EST and CST are several.
_MAIL = re.compile(
    r"(?:[a-z]{3}, ?)?\d{1,2} [a-z]{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT|UTC|Z)", re.ASCII | re.IGNORECASE
)
_MOST_S = 1e11  # the year 5138; a number above is in milliseconds
_MOST_MS = 4_102_444_800_000  # the year 2100; above lie 20260310140000, microseconds and nanoseconds
_YEARS = range(1970, 2101)


class _Unit(StrEnum):
    SECONDS = "seconds since 1970"
    MILLISECONDS = "milliseconds since 1970"
    DAYS = "dates such as 20260310"


class Times:
    """Reads the times of one file. A time without a zone is UTC.

    What numbers mean, the first one of the file says: eight digits that are a date from 1970 to 2100 are one, from 1e11
    on it is milliseconds, else seconds. So seconds that count from 0 never turn into dates halfway.
    """

    def __init__(self) -> None:
        self._unit: _Unit | None = None

    def read(self, where: str, text: str) -> float:
        """Seconds since 1970. Raises: DatasetError, which begins with `where`."""
        text = text.strip()
        if _NUMBER.fullmatch(text):
            return self._of_number(where, text)
        try:
            moment = _moment(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise _refused(where, text) from None

    def _of_number(self, where: str, text: str) -> float:
        self._unit = self._unit or _unit(text)
        if self._unit is None:
            raise _refused(where, text)
        if self._unit is _Unit.DAYS and (day := _day(text)):
            return day.timestamp()
        number = float(text)
        if self._unit is _Unit.SECONDS and abs(number) < _MOST_S:
            return number
        if self._unit is _Unit.MILLISECONDS and _MOST_S <= number < _MOST_MS:
            return number / 1000
        raise DatasetError(f"{where}: time {text[:100]!r}; the numbers above are {self._unit}, expected more of these")


def _refused(where: str, text: str) -> DatasetError:
    return DatasetError(f"{where}: time {text[:100]!r} is not understood; {EXPECTED}")


def _unit(text: str) -> _Unit | None:
    """None where a number could be several, or none."""
    number = float(text)
    if _day(text):
        return _Unit.DAYS
    if abs(number) < _MOST_S:
        return _Unit.SECONDS
    minute = _MINUTE.fullmatch(text)
    if number < _MOST_S or number >= _MOST_MS or (minute and _written(minute[1], "%Y%m%d%H%M")):
        return None
    return _Unit.MILLISECONDS


def _day(text: str) -> datetime | None:
    digits = _DAY.fullmatch(text)
    return _written(digits[1], "%Y%m%d") if digits else None


def _written(digits: str, pattern: str) -> datetime | None:
    try:
        found = datetime.strptime(digits, pattern).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year in _YEARS else None


def _padded(found: re.Match[str]) -> str:
    year, _, month, day, hour, rest = found.groups()
    return f"{year}-{month:0>2}-{day:0>2}{f'T{hour:0>2}{rest}' if hour else ''}"


def _moment(text: str) -> datetime:
    """Raises: ValueError"""
    iso = _ISO.fullmatch(_YEAR_FIRST.sub(_padded, text))
    if iso is None:
        if not _MAIL.fullmatch(text):
            raise ValueError("no time")
        return parsedate_to_datetime(text)
    date, time, zone = iso["date"].upper(), iso["time"], (iso["zone"] or "").upper()
    if time is None:
        return datetime.fromisoformat(date)
    return datetime.fromisoformat(f"{date}T{time}{'Z' if zone in ('UTC', 'GMT') else zone}")
