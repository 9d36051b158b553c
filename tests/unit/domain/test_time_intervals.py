"""Time intervals: as Alertmanager writes and means them."""

import calendar
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.domain.record import utc
from monitor.domain.time_intervals import TimeInterval

WEEK = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
NIGHT = {"times": [{"start_time": "22:00", "end_time": "24:00"}, {"start_time": "00:00", "end_time": "06:00"}]}
ZONES = ["UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


def interval(**given: Any) -> TimeInterval:
    return TimeInterval.model_validate(given)


@pytest.mark.parametrize(
    ("given", "inside", "outside"),
    [
        ({}, [utc(2026, 1, 1)], []),
        (NIGHT, [utc(2026, 1, 1, 22), utc(2026, 1, 1, 23, 59, 59), utc(2026, 1, 2), utc(2026, 1, 2, 5, 59, 59)],
         [utc(2026, 1, 1, 21, 59, 59), utc(2026, 1, 2, 6)]),
        ({"weekdays": ["monday:friday"]}, [utc(2026, 1, 5), utc(2026, 1, 9, 23, 59)],
         [utc(2026, 1, 4), utc(2026, 1, 10)]),
        ({"weekdays": ["Saturday", "sunday"]}, [utc(2026, 1, 3), utc(2026, 1, 4)], [utc(2026, 1, 5)]),
        # Month ends.
        ({"days_of_month": ["-1"]}, [utc(2026, 2, 28), utc(2024, 2, 29), utc(2026, 4, 30), utc(2026, 12, 31, 23, 59)],
         [utc(2024, 2, 28), utc(2026, 12, 30), utc(2027, 1, 1)]),
        ({"days_of_month": ["-3:-1"]}, [utc(2026, 2, 26), utc(2024, 2, 27), utc(2026, 1, 29)], [utc(2024, 2, 26)]),
        ({"days_of_month": ["1:5"]}, [utc(2026, 1, 1), utc(2026, 1, 5)], [utc(2026, 1, 6), utc(2026, 1, 31)]),
        ({"days_of_month": ["29:31"]}, [utc(2024, 2, 29), utc(2026, 1, 31)], [utc(2026, 2, 28), utc(2026, 3, 1)]),
        ({"days_of_month": ["28:31"]}, [utc(2026, 2, 28), utc(2026, 4, 30)], [utc(2026, 3, 1)]),
        ({"days_of_month": [31]}, [utc(2026, 1, 31)], [utc(2026, 2, 28), utc(2026, 4, 30)]),
        ({"days_of_month": ["-31:-29"]}, [utc(2026, 1, 1), utc(2026, 1, 3), utc(2024, 2, 1)],
         [utc(2026, 1, 4), utc(2024, 2, 2), utc(2026, 2, 1)]),
        ({"days_of_month": ["10:-10"]}, [utc(2026, 2, 10), utc(2026, 2, 19)], [utc(2026, 2, 9), utc(2026, 2, 20)]),
        # Months and years.
        ({"months": ["january:March", "12"]}, [utc(2026, 1, 1), utc(2026, 3, 31), utc(2026, 12, 1)], [utc(2026, 4, 1)]),
        ({"months": [2], "days_of_month": ["29"]}, [utc(2024, 2, 29)], [utc(2025, 2, 28), utc(2025, 3, 1)]),
        ({"years": ["2026:2027"]}, [utc(2026, 1, 1), utc(2027, 12, 31, 23, 59, 59)],
         [utc(2025, 12, 31, 23), utc(2028, 1, 1)]),
        # The date is that of the place.
        ({"years": ["2027"], "location": "Asia/Tokyo"}, [utc(2026, 12, 31, 15)], [utc(2026, 12, 31, 14, 59)]),
        ({"weekdays": ["friday"], "location": "America/New_York"}, [utc(2026, 1, 3, 4, 59)], [utc(2026, 1, 3, 5)]),
        ({"days_of_month": ["-1"], "location": "America/New_York"}, [utc(2024, 3, 1, 4)], [utc(2024, 3, 1, 5)]),
        # Every condition must hold.
        ({**NIGHT, "weekdays": ["monday"]}, [utc(2026, 1, 5, 1), utc(2026, 1, 5, 23)],
         [utc(2026, 1, 6, 1), utc(2026, 1, 5, 12)]),
    ],
)  # fmt: skip
def test_which_moments_it_holds(given: dict[str, Any], inside: list[datetime], outside: list[datetime]) -> None:
    found = interval(**given)
    assert [moment for moment in inside if not found.contains(moment)] == []
    assert [moment for moment in outside if found.contains(moment)] == []


def hours_held(found: TimeInterval, zone: str, *day: int) -> float:
    """Hours of a day by the clock on the wall there that the interval holds, looked at each minute."""
    year, month, date = day
    start = datetime(year, month, date, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end = (datetime(year, month, date, tzinfo=ZoneInfo(zone)) + timedelta(days=1)).astimezone(UTC)
    minutes = int((end - start) / timedelta(minutes=1))
    return sum(found.contains(start + timedelta(minutes=minute)) for minute in range(minutes)) / 60


@pytest.mark.parametrize(
    ("zone", "day", "early", "whole"),
    [
        ("Europe/London", (2026, 3, 28), 3, 24),
        ("Europe/London", (2026, 3, 29), 2, 23),  # 01:00 to 02:00 never comes
        ("Europe/London", (2026, 10, 25), 4, 25),  # and now comes twice
        ("America/New_York", (2026, 3, 8), 2, 23),
        ("America/New_York", (2026, 11, 1), 4, 25),
        ("Australia/Lord_Howe", (2026, 10, 4), 2.5, 23.5),  # half an hour
    ],
)
def test_days_on_which_the_clock_is_changed(zone: str, day: tuple[int, int, int], early: float, whole: float) -> None:
    morning = {"start_time": "00:00", "end_time": "03:00"}
    date = {"years": [day[0]], "months": [day[1]], "days_of_month": [day[2]], "location": zone}
    assert hours_held(interval(times=[morning], **date), zone, *day) == early
    assert hours_held(interval(**date), zone, *day) == whole


def test_an_hour_that_is_skipped_holds_nothing_else() -> None:
    skipped = interval(times=[{"start_time": "01:00", "end_time": "02:00"}], location="Europe/London")
    assert hours_held(skipped, "Europe/London", 2026, 3, 29) == 0
    assert hours_held(skipped, "Europe/London", 2026, 3, 30) == 1


ranges = st.tuples(st.integers(-31, 31), st.integers(-31, 31)).filter(lambda pair: 0 not in pair)


def days_by_slices(pairs: list[tuple[int, int]], length: int) -> set[int]:
    """The days of a month that ranges name, by what Python makes of slices: another road to the same place."""
    days = list(range(1, length + 1))
    found: set[int] = set()
    for first, last in pairs:
        begin = first - 1 if first > 0 else first
        end = last if last > 0 else (last + 1 or None)
        found |= set(days[begin:end])
    return found


@given(
    st.lists(ranges, max_size=3),
    st.sets(st.integers(0, 6)),
    st.sets(st.integers(1, 12)),
    st.tuples(st.integers(0, 1439), st.integers(1, 1440)),
    st.sampled_from(ZONES),
    st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)),  # noqa: DTZ001  # in UTC, given below
)
def test_it_holds_what_counting_every_condition_out_holds(
    days: list[tuple[int, int]],
    weekdays: set[int],
    months: set[int],
    clock: tuple[int, int],
    zone: str,
    naive: datetime,
) -> None:
    legal = []
    for first, last in days:
        try:
            interval(days_of_month=[f"{first}:{last}"])
        except ValidationError:
            continue
        legal.append((first, last))
    start, end = sorted(clock)
    times = (
        []
        if start == end
        else [{"start_time": f"{start // 60:02}:{start % 60:02}", "end_time": f"{end // 60:02}:{end % 60:02}"}]
    )
    found = interval(
        times=times,
        days_of_month=[f"{first}:{last}" for first, last in legal],
        weekdays=[WEEK[day] for day in weekdays],
        months=list(months),
        location=zone,
    )
    moment = naive.replace(tzinfo=UTC)
    local = moment.astimezone(ZoneInfo(zone))
    date = local.date()
    expected = (
        (not times or f"{start:04}" <= f"{int(local.strftime('%H')) * 60 + int(local.strftime('%M')):04}" < f"{end:04}")
        and (not legal or date.day in days_by_slices(legal, calendar.monthrange(date.year, date.month)[1]))
        and (not weekdays or local.strftime("%w") in {str(day) for day in weekdays})
        and (not months or date.month in months)
    )
    assert found.contains(moment) is expected
    assert found.contains(local) is expected


@pytest.mark.parametrize(
    ("given", "where", "why"),
    [
        ({"times": [{"start_time": "22:00", "end_time": "06:00"}]}, "times.0", "two ranges"),
        ({"times": [{"start_time": "08:00", "end_time": "08:00"}]}, "times.0", "before end_time"),
        ({"times": [{"start_time": "8:00", "end_time": "09:00"}]}, "times.0.start_time", "HH:MM"),
        ({"times": [{"start_time": "08:00", "end_time": "24:01"}]}, "times.0.end_time", "HH:MM"),
        ({"times": [{"start_time": 8, "end_time": "09:00"}]}, "times.0.start_time", "HH:MM"),
        ({"times": [{"start_time": "08:00"}]}, "times.0.end_time", "required"),
        ({"weekdays": ["mon"]}, "weekdays.0", "unknown weekday 'mon'; expected one of: sunday, monday"),
        ({"weekdays": ["saturday:sunday"]}, "weekdays.0", "two ranges"),
        ({"days_of_month": ["1", "0"]}, "days_of_month.1", "day of the month"),
        ({"days_of_month": ["32"]}, "days_of_month.0", "day of the month"),
        ({"days_of_month": ["5:1"]}, "days_of_month.0", "in no month"),
        ({"days_of_month": ["-1:-5"]}, "days_of_month.0", "in no month"),
        ({"days_of_month": ["-5:5"]}, "days_of_month.0", "must end so too"),
        ({"days_of_month": ["first"]}, "days_of_month.0", "day of the month"),
        ({"days_of_month": [1.5]}, "days_of_month.0", "range"),
        ({"months": ["jan"]}, "months.0", "a month"),
        ({"months": ["13"]}, "months.0", "a month"),
        ({"months": ["november:february"]}, "months.0", "two ranges"),
        ({"years": ["2027:2026"]}, "years.0", "two ranges"),
        ({"years": ["soon"]}, "years.0", "a year"),
        ({"location": "Europe"}, "location", "unknown time zone"),
        ({"location": "../Europe/London"}, "location", "unknown time zone"),
        ({"location": "Europe/Londno"}, "location", "Europe/London"),
        ({"hours": []}, "hours", "not permitted"),
    ],
)
def test_a_mistake_is_told_where_it_stands(given: dict[str, Any], where: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        interval(**given)
    (error,) = caught.value.errors()
    assert ".".join(str(part) for part in error["loc"]) == where
    assert why in error["msg"]


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        interval().contains(datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point


def test_it_is_text_again_in_json() -> None:
    given = {
        **NIGHT, "weekdays": ["monday:friday"], "days_of_month": ["1:5", "-3:-1"], "months": ["january", "3"],
        "years": ["2026:2028"], "location": "Europe/London",
    }  # fmt: skip
    found = interval(**given)
    assert found.model_dump(mode="json") == given
    assert TimeInterval.model_validate(found.model_dump()) == found
