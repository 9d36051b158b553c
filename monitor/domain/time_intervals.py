"""Time intervals: nights, weekends, month ends, as Alertmanager writes them.

Source: `time_intervals` of Prometheus Alertmanager.
"""

import calendar
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, model_validator

from monitor.domain.record import Record

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,4}", re.ASCII)


class Span(NamedTuple):
    """From `first` to `last`, both included; `text` is how it was written."""

    first: int
    last: int
    text: str

    def holds(self, number: int) -> bool:
        return self.first <= number <= self.last


def clock_minutes(given: Any) -> int:
    """Minutes since midnight of "HH:MM"; "24:00" is the end of the day.

    Raises: ValueError.
    """
    found = _CLOCK.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError('expected a time of day as "HH:MM", from "00:00" to "24:00"')
    return 24 * 60 if found[1] is None else int(found[1]) * 60 + int(found[2])


def zone_name(given: str) -> str:
    """The name, if it is one of a time zone.

    Raises: ValueError.
    """
    try:
        ZoneInfo(given)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"unknown time zone {given[:100]!r}; expected a name such as Europe/London or UTC") from None
    return given


def _span(member: Callable[[str], int], given: Any) -> Span:
    """Raises: ValueError."""
    if isinstance(given, Span):
        return given
    if not isinstance(given, str | int) or isinstance(given, bool):
        raise ValueError('expected one, or a range "first:last"')  # noqa: TRY004  # pydantic collects ValueErrors
    text = str(given).strip().lower()
    first, colon, last = (part.strip() for part in text.partition(":"))
    begin = member(first)
    return Span(begin, member(last) if colon else begin, text)


def _ascending(member: Callable[[str], int], given: Any) -> Span:
    span = _span(member, given)
    if span.first > span.last:
        raise ValueError(f'"{span.text}": the last comes before the first; write it as two ranges')
    return span


def _number(text: str, least: int, most: int, what: str) -> int:
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"expected {what}; got {text[:40]!r}")
    return int(text)


def _weekday(text: str) -> int:
    if text not in _WEEKDAYS:
        raise ValueError(f"unknown weekday {text[:40]!r}; expected one of: {', '.join(_WEEKDAYS)}")
    return _WEEKDAYS.index(text)


def _month(text: str) -> int:
    if text in _MONTHS:
        return _MONTHS.index(text) + 1
    return _number(text, 1, 12, "a month, january to december or 1 to 12")


def _year(text: str) -> int:
    return _number(text, 1, 9999, "a year")


def _day(text: str) -> int:
    day = _number(text, -31, 31, "a day of the month, 1 to 31, or -1 to -31 counted from its end")
    if day == 0:
        raise ValueError("expected a day of the month, 1 to 31, or -1 to -31 counted from its end; got '0'")
    return day


def _days(given: Any) -> Span:
    span = _span(_day, given)
    if span.first < 0 < span.last:
        raise ValueError(f'"{span.text}": what begins counted from the end of the month must end so too')
    if not any(_in_month(span, length).first <= _in_month(span, length).last for length in (28, 29, 30, 31)):
        raise ValueError(f'"{span.text}": in no month is there such a day')
    return span


def _in_month(span: Span, length: int) -> Span:
    """The same days of a month of `length` days, counted from 1; of a longer range, those that the month has."""
    first = span.first if span.first > 0 else span.first + length + 1
    last = span.last if span.last > 0 else span.last + length + 1
    return Span(max(first, 1), min(last, length), span.text)


def _text(span: Span) -> str:
    return span.text


def _clock_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


_AS_TEXT = PlainSerializer(_text, return_type=str)
_ClockTime = Annotated[int, PlainValidator(clock_minutes), PlainSerializer(_clock_text, return_type=str)]
_Weekdays = Annotated[Span, PlainValidator(partial(_ascending, _weekday)), _AS_TEXT]
_Months = Annotated[Span, PlainValidator(partial(_ascending, _month)), _AS_TEXT]
_Years = Annotated[Span, PlainValidator(partial(_ascending, _year)), _AS_TEXT]
_Days = Annotated[Span, PlainValidator(_days), _AS_TEXT]


class ClockRange(Record):
    """Part of a day, [start, end).

    Units: minutes since midnight by the clock on the wall; written "HH:MM".
    """

    start_time: _ClockTime
    end_time: _ClockTime

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start_time >= self.end_time:
            raise ValueError("expected start_time before end_time; what goes past midnight is two ranges")
        return self


class TimeInterval(Record):
    """The moments that meet every condition given; of one condition's ranges, one must hold.

    A week begins on Sunday. Days of the month below zero count from its end; days that a month does not have are left
    out. Times and dates are those of `location`: where the clock is put forward, the hour it skips never comes; where
    it is put back, the hour it repeats comes twice.
    """

    times: tuple[ClockRange, ...] = Field((), description='parts of the day: start_time, end_time as "HH:MM"')
    weekdays: tuple[_Weekdays, ...] = Field((), description='such as "monday:friday"')
    days_of_month: tuple[_Days, ...] = Field((), description='such as "1:5"; "-3:-1" are the last three')
    months: tuple[_Months, ...] = Field((), description='such as "january:march" or 12')
    years: tuple[_Years, ...] = Field((), description='such as "2026:2028"')
    location: Annotated[str, AfterValidator(zone_name)] = Field("UTC", description="time zone, by its IANA name")

    def contains(self, moment: datetime) -> bool:
        """Raises: ValueError, if `moment` is of no time zone."""
        if moment.tzinfo is None:
            raise ValueError("expected a moment with a time zone")
        local = moment.astimezone(ZoneInfo(self.location))
        minute = local.hour * 60 + local.minute
        length = calendar.monthrange(local.year, local.month)[1]
        return (
            (not self.times or any(span.start_time <= minute < span.end_time for span in self.times))
            and _holds(self.weekdays, local.isoweekday() % 7)
            and _holds(tuple(_in_month(span, length) for span in self.days_of_month), local.day)
            and _holds(self.months, local.month)
            and _holds(self.years, local.year)
        )


def _holds(spans: tuple[Span, ...], number: int) -> bool:
    return not spans or any(span.holds(number) for span in spans)
