"""Links do what they say, for as long as they say, and nobody else can make one."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.links import Links, Opened
from tests.factories import NOW

SECRET = "a-secret-of-at-least-32-characters"
LINKS = Links("https://monitor.example.org/news/", SECRET, days=7)


def _token(url: str) -> str:
    head, _, token = url.rpartition("/")
    assert head == "https://monitor.example.org/news/alerts"
    return token


@given(alert_id=st.text(max_size=40), recipient=st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_link_opens_as_what_it_was_made_for(alert_id: str, recipient: str) -> None:
    made = {
        "page": LINKS.page(alert_id, recipient, NOW),
        "acknowledge": LINKS.acknowledge(alert_id, recipient, NOW),
        "silence": LINKS.silence(alert_id, recipient, NOW),
    }
    assert {LINKS.open(_token(url), NOW) for url in made.values()} == {
        Opened(action, alert_id, recipient)  # type: ignore[arg-type]
        for action in made
    }
    assert all(url.isascii() and url.isprintable() and " " not in url for url in made.values())


def test_it_ends_after_its_days_to_the_second() -> None:
    token = _token(LINKS.page("a", "desk", NOW))
    assert LINKS.open(token, NOW + timedelta(days=7, seconds=-1)).alert_id == "a"
    with pytest.raises(ValueError, match="expired, take a newer message's: it was good until 2026-03-11 11:00 UTC"):
        LINKS.open(token, NOW + timedelta(days=7))


def test_it_keeps_its_end_when_the_setting_changes() -> None:
    token = _token(LINKS.page("a", "desk", NOW))
    assert Links("https://elsewhere.example.org", SECRET, days=1).open(token, NOW + timedelta(days=6)).alert_id == "a"


def test_every_attempt_makes_the_same_link() -> None:
    again = Links("https://monitor.example.org/news", SECRET, days=7)
    assert LINKS.silence("a", "desk", NOW) == again.silence("a", "desk", NOW)


@given(place=st.integers(min_value=0), bit=st.integers(min_value=1, max_value=127))
def test_a_changed_link_does_not_open(place: int, bit: int) -> None:
    token = _token(LINKS.page("a", "desk", NOW))
    at = place % (len(token) - 1)  # of the last sign two bits stand for nothing
    with pytest.raises(ValueError, match="not made by this monitor"):
        LINKS.open(f"{token[:at]}{chr(ord(token[at]) ^ bit)}{token[at + 1 :]}", NOW)


@pytest.mark.parametrize("token", ["", ".", "a.b", "\udcff", "é", "." * 100_000, "WyJwYWdlIl0.x"])
def test_what_is_no_link_does_not_open(token: str) -> None:
    with pytest.raises(ValueError, match="not made by this monitor"):
        LINKS.open(token, NOW)


def test_a_link_of_another_secret_does_not_open() -> None:
    other = Links("https://monitor.example.org/news", SECRET[::-1], days=7)
    with pytest.raises(ValueError, match="not made by this monitor") as caught:
        LINKS.open(_token(other.page("a", "desk", NOW)), NOW)
    assert SECRET not in str(caught.value)


def test_the_secret_is_in_no_link() -> None:
    assert SECRET not in LINKS.page("a", "desk", NOW)
    assert SECRET not in repr(LINKS)
