"""Times in files: every usual spelling means what it says, and what could mean two things is refused."""

import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.times import Times
from monitor.errors import DatasetError

TEN = datetime(2026, 3, 10, 10, tzinfo=UTC)
MIDNIGHT = TEN.replace(hour=0)


def read(*texts: str) -> float:
    """The last of them, as one file has them."""
    times = Times()
    return [times.read("f.csv: line 2", text) for text in texts][-1]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-10", MIDNIGHT),
        ("20260310", MIDNIGHT),
        ("20260310.0", MIDNIGHT),
        ("2026-W11-2", MIDNIGHT),
        ("2026w112", MIDNIGHT),
        ("2026/3/10", MIDNIGHT),
        ("2026.03.10", MIDNIGHT),
        ("2026/03/10 10:00:00", TEN),
        ("2026-3-10 9:00 -0100", TEN),
        ("2026-03-10 10:00:00", TEN),
        ("2026-03-10T10", TEN),
        ("20260310T1000", TEN),
        ("20260310t100000z", TEN),
        ("2026-03-10T10:00:00.000Z", TEN),
        ("2026-03-10T10:00:00,000000000Z", TEN),
        ("2026-03-10 10:00:00 UTC", TEN),
        ("2026-03-10 11:00:00 +01:00", TEN),
        ("2026-03-10T05:00-0500", TEN),
        ("2026-03-10T11:00+01", TEN),
        ("Tue, 10 Mar 2026 10:00:00 GMT", TEN),
        ("10 Mar 2026 11:00 +0100", TEN),
        ("1773136800", TEN),
        ("1773136800.0", TEN),
        ("1.7731368e9", TEN),
        ("1773136800000", TEN),
    ],
)
def test_what_means_one_thing_is_read(text: str, moment: datetime) -> None:
    assert read(f" {text} ") == moment.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "", "10:00", "2026/3/10 9", "Monday", "now", "March 2026", "2026-03", "2026-13-01", "2026-02-30",
        "2026-3/10", "2026/13/1",
        "10/03/2026", "13/03/2026", "10.03.2026", "2026-03-10 10:00 EST", "2026-03-10 10:00 CET", "2026-03-10 10:00 PM",
        "2026-03-10-05:00", "2026-03-10x10:00", "2026-03-10Z", "2026-03-10T25:00", "Tue, 10 Mar 2026 10:00:00 EST",
        "Tue, 10 Mar 2026 10:00:00", "10 Mar 26 10:00 +0000", "202603101000", "20260310100000", "1773136800000000",
        "-1773136800000", "nan", "inf", "1e400", "1_000", "0x10", "٢٠٢٦-٠٣-١٠", "١٧",
    ],
)  # fmt: skip
def test_all_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(text)
    assert str(caught.value).startswith(f"f.csv: line 2: time {text!r} is not understood; expected ISO 8601")
    assert "\n" not in str(caught.value)


def test_the_first_number_says_what_the_numbers_of_a_file_are() -> None:
    assert read("0", "19700229", "20000101", "20260310") == 20260310, "seconds from 0 never turn into dates"
    assert read("2026-03-09T10:00", "20260310") == MIDNIGHT.timestamp(), "the first number, not the first row"
    for texts, unit in (
        (("20260310", "1773136800"), "dates such as"),
        (("20260310", "20260231"), "dates such as"),
        (("1773136800", "1773136800000"), "seconds"),
        (("1773136800000", "1773136800"), "milliseconds"),
    ):
        with pytest.raises(DatasetError, match=f"line 2: time '{texts[-1]}'; the numbers above are {unit}"):
            read(*texts)


@given(
    st.datetimes(TEN.replace(year=1980, tzinfo=None), TEN.replace(year=2098, tzinfo=None)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_all_spellings_of_a_moment_are_one(moment: datetime, zone: timezone) -> None:
    at = moment.replace(tzinfo=zone)
    spellings = {
        at.isoformat(),
        at.isoformat(sep=" "),
        at.strftime("%Y%m%dT%H%M%S.%f%z"),
        at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    assert {read(text) for text in spellings} == {at.timestamp()}
    seconds = int(at.timestamp())
    assert read(str(seconds)) == read(at.strftime("%d %b %Y %H:%M:%S %z")) == seconds
    assert read(f"{seconds * 1000}") == seconds


@given(st.text(max_size=30) | st.from_regex(r"[0-9T:+.\- ZW/]{1,25}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(DatasetError):
        assert math.isfinite(read(text))
