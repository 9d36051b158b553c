"""The report: equal for equal runs, safe with any headline, and true to what differs."""

import re
from datetime import timedelta

import pytest
from pydantic_core import to_json

from monitor.backtest import pictures
from monitor.backtest.episodes import Episode, judge
from monitor.backtest.facts import keys_that_fired
from monitor.backtest.report import compare, delay, document, page
from monitor.domain.record import utc
from monitor.domain.spikes import Severity
from monitor.domain.windows import ALL, Key
from tests.unit.backtest.past import BANKS, FIRST, make_alarm, make_played

AT = utc(2026, 3, 4, 12, 5)
HOSTILE = '<script>alert("x")</script> & Söhne'


def png(found: bytes) -> bool:
    return found.startswith(b"\x89PNG\r\n\x1a\n")


def test_what_is_counted() -> None:
    alarms = [
        make_alarm(AT, severity=Severity.WARNING),
        make_alarm(AT, key=ALL),
        make_alarm(AT + timedelta(days=1), message="message-2"),
        make_alarm(AT + timedelta(days=2), message="message-3", why_not="same stories"),
    ]
    found = document("archive", make_played(alarms), None, None, None)
    assert (found["alerts"], found["messages"]) == (4, 2)
    assert (found["alerts_per_day"], found["messages_per_day"]) == (0.4, 0.2)
    assert found["by_severity"] == {"warning": 1, "severe": 3}
    assert found["by_kind"] == {"all": 1, "topic": 3}
    assert [row["why_not"] for row in found["fired"]] == [None, None, None, "same stories"]
    assert len(found["fired"][0]["stories"]) == 3


def test_nothing_played_is_reported_too() -> None:
    found = document("archive", make_played(first=None, last=None, detector=None), None, None, None)
    assert (found["alerts"], found["alerts_per_day"]) == (0, None)
    assert "None." in page(found, {})


def test_runs_are_compared_by_key_and_time() -> None:
    same, moved, other_key, later = (
        make_alarm(AT),
        make_alarm(AT + timedelta(minutes=20), observed=9),
        make_alarm(AT, key=ALL),
        make_alarm(AT + timedelta(hours=5)),
    )
    assert compare([same], [same]) == (1, [], [])
    assert compare([same], [moved]) == (1, [], [])
    assert compare([same], [other_key]) == (0, [other_key], [same])
    assert compare([same], [later, moved]) == (1, [later], [])
    assert compare([same, moved], [same]) == (1, [], [moved])
    assert compare([], []) == (0, [], [])


def test_a_headline_stays_text() -> None:
    alarm = make_alarm(AT, HOSTILE, key=Key("entity", HOSTILE), message=HOSTILE, why_not=HOSTILE)
    played = make_played([alarm])
    verdict = judge(played, [Episode(HOSTILE, AT, AT + timedelta(hours=1))])
    found = document(HOSTILE, played, None, verdict, (HOSTILE, compare([], [alarm])))
    html = page(found, {f"entity:{HOSTILE}": b"png"})
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd"])
def test_only_web_addresses_are_links(url: str) -> None:
    spike = make_alarm(AT).spike
    story = spike.stories[0].model_copy(update={"url": url})
    alarm = make_alarm(AT)._replace(spike=spike.model_copy(update={"stories": (story,)}))
    assert url not in page(document("archive", make_played([alarm]), None, None, None), {})


def test_the_page_is_whole_and_fetches_nothing() -> None:
    played = make_played([make_alarm(AT), make_alarm(AT, key=ALL)])
    drawn = {str(key): pictures.draw(played, key) for key in keys_that_fired(played.alarms)}
    html = page(document("archive", played, None, None, None), drawn)
    assert html.count('src="data:image/png;base64,') == 2
    assert not re.search(r"""(?:src|href)=["'](?!data:image/png|#|https://news\.example\.com/)""", html)
    targets = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= targets


def test_equal_runs_give_equal_bytes() -> None:
    def made() -> tuple[bytes, str, bytes]:
        played = make_played([make_alarm(AT), make_alarm(AT + timedelta(days=1), key=ALL)])
        found = document("archive", played, None, judge(played, [Episode("A", FIRST, AT)]), None)
        picture = pictures.draw(played, BANKS)
        return to_json(found), page(found, {str(BANKS): picture}), picture

    assert made() == made()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$\\frac{", "瑞士信贷", "x" * 300, "", "a\nb\u202e"])
def test_any_name_can_be_drawn(name: str) -> None:
    key = Key("entity", name)
    played = make_played([make_alarm(AT, key=key, low=0.0, high=5.0), make_alarm(AT + timedelta(hours=1), key=key)])
    assert png(pictures.draw(played, key))
    assert re.fullmatch(r"[A-Za-z0-9-]+\.png", pictures.file_name(key))


@pytest.mark.parametrize("length", [timedelta(minutes=1), timedelta(days=800)])
def test_any_span_can_be_drawn(length: timedelta) -> None:
    played = make_played([make_alarm(AT)], first=AT - length, last=AT)
    assert png(pictures.draw(played, BANKS))


def test_two_keys_never_share_a_file() -> None:
    names = [pictures.file_name(Key("topic", name)) for name in ("A/B", "A B", "A|B", "a/b")]
    assert len(set(names)) == len(names)


def test_long_delays_are_told_in_hours() -> None:
    assert delay({"value": 30.0, "low": 5.0, "high": 90.0}) == "30 min (5 to 90)"
    assert delay({"value": 300.0, "low": 60.0, "high": 900.0}) == "5 h (1 to 15)"
    assert delay({"value": None, "low": None, "high": None}) == "-"
