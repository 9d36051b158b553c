"""The clusterer as a whole: its horizon, its memory, and that a restart changes nothing."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.record import utc
from pipelines.stories.clusters import Stories

START = utc(2026, 3, 4, 9, 0)
HOUR = timedelta(hours=1)
TITLE = "Harbour authority shelves expansion of container port"
SUMMARY = "The owner of the port gave up its plans for a second quay on Tuesday, citing costs and a lack of freight."

_WORDS = ["bank", "cuts", "jobs", "Ostrava", "plant", "after", "loss", "of", "40", "Velden", "Q2", "fall", "rise"]
_TITLES = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=8).map(" ".join)
_ARTICLES = st.lists(
    st.tuples(_TITLES, st.one_of(st.just(""), _TITLES, st.just(SUMMARY)), st.integers(-90, 200)),
    min_size=1, max_size=40,
)  # fmt: skip
Fed = list[tuple[str, str, int]]


def feed(stories: Stories, articles: Fed, first: int = 0) -> list[str]:
    """Each article comes some minutes after the one before it, or before it."""
    at, ids = START, []
    for number, (title, summary, minutes) in enumerate(articles):
        at += timedelta(minutes=minutes)
        if number >= first:
            ids.append(stories.assign(f"{number:032x}", title, summary, at))
    return ids


def test_forty_copies_of_one_item_are_one_story() -> None:
    outlets = ["Reuters", "Bloomberg", "Financial Times", "CNBC", *(f"{name} Courier" for name in "Abcdefghijklmnop")]
    marks = ["", "UPDATE 1-", "RPT-", "BREAKING: "]
    stories = Stories()
    ids = [
        stories.assign(
            f"{number:032x}",
            f"{marks[number % 4]}{TITLE}{f' - {outlets[number % 20]}' if number % 3 else ''}",
            SUMMARY[: 60 + number * 3] + "..." if number % 2 else SUMMARY,
            START + number * timedelta(minutes=20),
        )
        for number in range(40)
    ]
    assert set(ids) == {f"{0:032x}"}


def test_a_new_story_has_the_id_of_its_first_article() -> None:
    assert Stories().assign("a" * 32, TITLE, SUMMARY, START) == "a" * 32


def test_an_article_that_comes_again_keeps_its_story() -> None:
    stories = Stories()
    first = stories.assign("a" * 32, TITLE, SUMMARY, START)
    stories.assign("b" * 32, "Something else happened in Velden today", "", START)
    assert stories.assign("a" * 32, TITLE, SUMMARY, START + HOUR) == first
    assert len(stories) == 2


def test_a_story_goes_on_while_members_come_and_ends_after_the_horizon() -> None:
    stories = Stories(timedelta(hours=48))
    ids = [stories.assign(f"{n:032x}", TITLE, SUMMARY, START + n * 40 * HOUR) for n in range(4)]
    assert len(set(ids)) == 1
    assert stories.assign("f" * 32, TITLE, SUMMARY, START + (120 + 49) * HOUR) == "f" * 32


def test_what_is_older_than_the_horizon_is_let_go() -> None:
    horizon = timedelta(hours=2)
    stories = Stories(horizon)
    for number in range(5000):
        stories.assign(f"{number:032x}", f"Firm{number} opens a plant in town {number}", "", START + number * HOUR / 60)
    assert len(stories) <= horizon / (HOUR / 60) + 1


def test_an_article_of_the_day_before_yesterday_is_not_taken_for_new_evidence() -> None:
    stories = Stories(timedelta(hours=2))
    stories.assign("a" * 32, "A first item that moves the clock forward", "", START)
    stories.assign("b" * 32, TITLE, SUMMARY, START - 30 * HOUR)
    assert len(stories) == 1


def test_a_horizon_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon"):
        Stories(timedelta(0))


def test_more_articles_than_there_is_room_for_are_still_assigned() -> None:
    stories = Stories(capacity=16)
    for number in range(2000):
        stories.assign(f"{number:032x}", f"Firm{number} opens plant{number} in town{number}", "", START)
    assert stories.assign("a" * 32, "Firm1999 opens plant1999 in town1999", "", START) == f"{1999:032x}"


@pytest.mark.parametrize(
    ("first", "second", "hours"),
    [
        ("Velden plc: Holding(s) in Company", "Ostrava plc: Holding(s) in Company", 1),
        ("Velden plc Reports Second Quarter Results", "Velden plc Reports Third Quarter Results", 1),
        ("Wall Street closes lower", "Wall Street closes lower", 24),
        ("Stocks fall on inflation fears in late trading", "Stocks rise on inflation fears in late trading", 1),
        ("Velden chief to resign over accounts", "Velden denies chief to resign over accounts", 1),
        ("Agency cuts rating of Velden to BB", "Agency cuts rating of Ostrava to BB", 1),
        ("Velden <7906.T>-2011/12 parent forecast", "Velden <7906.T>-2011/12 group forecast", 1),
        ("丰田公布第二季度财报", "本田公布第二季度财报", 1),
    ],
)
def test_alike_is_not_the_same(first: str, second: str, hours: int) -> None:
    stories = Stories()
    ids = {stories.assign("a" * 32, first, "", START), stories.assign("b" * 32, second, "", START + hours * HOUR)}
    assert len(ids) == 2


GRANT = "after the county withdrew its grant on Monday."
HOURS = "hours after a landslide at a quarry near Velden killed four workers."
QUARRY = "people at a quarry near Velden, rescue crews said."


@pytest.mark.parametrize(
    ("first", "second", "stories"),
    [
        (("Velden quarry landslide: road closed", f"The road to the coast was shut {HOURS}"),
         ("Velden quarry landslide: manager held", f"The manager was arrested {HOURS}"), 2),
        (("Ferry firm sells two ships", f"The ferry firm put two of its ships up for sale {GRANT}"),
         ("Ferry firm to sell two ships", f"The ferry firm will put two ships up for sale {GRANT}"), 1),
        (("Landslide at Velden quarry kills 4 people", f"At dawn a landslide buried 4 {QUARRY}"),
         ("Landslide at Velden quarry kills 6 people", f"At dawn a landslide buried 6 {QUARRY}"), 1),
        (("Velden sells bonds due 2030 at 4.2%", "Velden sold bonds to funds at a yield of 4.2% at its auction."),
         ("Velden sells bonds due 2040 at 4.9%", "Velden sold bonds to funds at a yield of 4.9% at its auction."), 2),
        (("Velden Foods [VLD.L] warns on profit, shares sink", ""),
         ("Velden Foods warns on profit, shares sink", ""), 1),
    ],
    ids=["two developments", "one text, edited", "a toll that grew", "two auctions", "ticker"],
)  # fmt: skip
def test_what_differs_decides(first: tuple[str, str], second: tuple[str, str], stories: int) -> None:
    clusters = Stories(capacity=64)
    ids = {clusters.assign("a" * 32, *first, START), clusters.assign("b" * 32, *second, START + HOUR)}
    assert len(ids) == stories


@settings(max_examples=60, deadline=None)
@given(_ARTICLES)
def test_the_same_sequence_gives_the_same_stories(articles: Fed) -> None:
    assert feed(Stories(capacity=64), articles) == feed(Stories(capacity=64), articles)


@settings(max_examples=60, deadline=None)
@given(_ARTICLES, st.data())
def test_a_restart_at_any_point_changes_nothing(articles: Fed, drawn: st.DataObject) -> None:
    horizon = timedelta(hours=6)
    cut = drawn.draw(st.integers(0, len(articles)))
    whole = feed(Stories(horizon, capacity=64), articles)
    again = Stories(horizon, capacity=64)
    at = START
    times = [at := at + timedelta(minutes=minutes) for _, _, minutes in articles]
    newest = max(times[:cut], default=START)
    begin = next((n for n in range(cut) if times[n] >= newest - horizon), cut)
    for n in range(begin, cut):
        again.remember(f"{n:032x}", articles[n][0], articles[n][1], times[n], whole[n])
    assert feed(again, articles, cut) == whole[cut:]


@settings(max_examples=60, deadline=None)
@given(_TITLES, _TITLES)
def test_a_copy_at_once_is_always_the_same_story(title: str, summary: str) -> None:
    stories = Stories(capacity=64)
    assert stories.assign("a" * 32, title, summary, START) == stories.assign("b" * 32, title, summary, START)
