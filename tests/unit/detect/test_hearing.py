"""Whose news was heard: by polls and by arrivals, the less of the two, and later than it happened."""

from datetime import timedelta

from monitor.domain.record import utc
from monitor.storage.coverage import Exposure
from pipelines.detect.hearing import Hearing

MONDAY = utc(2026, 3, 2)
START = int(MONDAY.timestamp()) // 300
WEEK = 7 * 288
HOUR = 12


def _three_weeks(hearing: Hearing, sources: str = "ab") -> int:
    """Each source has news in every bucket. Returns the bucket that follows."""
    for bucket in range(START, START + 3 * WEEK):
        hearing.take(bucket, sources)
        assert hearing.heard(bucket).share == 1
    return START + 3 * WEEK


def test_a_source_that_stops_is_missed_from_its_last_news_on() -> None:
    hearing = Hearing()
    begin = _three_weeks(hearing)
    amended: dict[int, float] = {}
    for bucket in range(begin, begin + 6 * HOUR):
        hearing.take(bucket, "a")
        heard = hearing.heard(bucket)
        amended.update(heard.amended)
        assert 0.4 < heard.share < 0.7 if heard.silent else heard.share == 1
    assert heard.silent == {"b"}
    first = min(amended)
    assert first == begin
    assert all(0.4 < share < 0.7 for share in amended.values())
    assert max(amended) < begin + 6 * HOUR - 1  # it was told while it went on


def test_a_restart_tells_nothing_again() -> None:
    hearing = Hearing()
    begin = _three_weeks(hearing)
    for bucket in range(begin, begin + 6 * HOUR):
        hearing.take(bucket, "a")
        hearing.heard(bucket)
    again = Hearing()
    again.load(hearing.dump())
    for one in (hearing, again):
        one.take(begin + 6 * HOUR, "a")
    told = again.heard(begin + 6 * HOUR)
    assert told == hearing.heard(begin + 6 * HOUR)
    assert told.amended == {}


def test_a_feed_that_fails_is_missed_although_others_have_news() -> None:
    hearing = Hearing()
    begin = _three_weeks(hearing)
    moment = MONDAY + timedelta(weeks=3)
    week = timedelta(days=7)
    spans = [("a", MONDAY, moment + week, moment + 2 * week), ("b", MONDAY, moment, moment + week)]
    hearing.know(Exposure(MONDAY, moment + timedelta(hours=1), spans))
    hearing.take(begin, "ab")
    heard = hearing.heard(begin)
    assert (heard.share, set(heard.silent)) == (0.5, {"b"})
    hearing.know(None)
    hearing.take(begin + 1, "ab")
    assert hearing.heard(begin + 1).share == 1
