"""Views of a text that mean the same."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.augment import Augment, as_headline, tickers_of, with_tickers, with_typos

words = st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=9), min_size=1, max_size=30)


@given(words, st.floats(0.01, 1), st.integers(0, 99))
def test_typos_are_in_as_many_words_as_asked_for(text: list[str], share: float, seed: int) -> None:
    slipped = with_typos(" ".join(text), share, random.Random(seed)).split(" ")
    assert len(slipped) == len(text)
    assert sum(a != b for a, b in zip(text, slipped, strict=True)) <= max(1, round(share * len(text)))
    assert all(abs(len(a) - len(b)) <= 1 for a, b in zip(text, slipped, strict=True))


def test_figures_and_short_words_have_no_typos() -> None:
    assert with_typos("up 3.4% to $12 bn", 1.0, random.Random(1)) == "up 3.4% to $12 bn"


def test_a_stock_keeps_its_new_name_throughout() -> None:
    renamed = with_tickers("$AAPL beats; $MSFT and $AAPL up $5", ["XYZ", "QRS"], random.Random(3))
    first, second = renamed.split(" ")[0], renamed.split(" ")[4]
    assert first == second
    assert renamed.endswith("up $5")
    assert tickers_of(["$aapl $BRK.B", "pays $5"]) == ["AAPL", "BRK.B"]


@pytest.mark.parametrize(
    ("post", "headline"),
    [
        ("$BYND - JPMorgan reels in expectations on Beyond Meat", "JPMorgan reels in expectations on Beyond Meat"),
        ("$CCL $RCL: bookings weak", "bookings weak"),
        ("Hotels make big claims (via @luxury)", "Hotels make big claims"),
        ("Oil jumps #oil #energy", "Oil jumps"),
        ("Chips lead again - Seeking Alpha", "Chips lead again"),
        ("A deal for $TWTR", "A deal for TWTR"),
        ("$AAPL", "$AAPL"),
    ],
)
def test_the_marks_of_a_post_are_taken_away(post: str, headline: str) -> None:
    assert as_headline(post) == headline


@given(st.lists(st.text(min_size=1, max_size=60).filter(str.strip), min_size=1, max_size=10), st.integers(0, 9))
def test_equal_seeds_give_equal_views_and_no_view_is_empty(texts: list[str], seed: int) -> None:
    one, two = (Augment(["ABC"], random.Random(seed)) for _ in range(2))
    views = [one(text) for text in texts]
    assert views == [two(text) for text in texts]
    assert all(view.strip() for view in views)


def test_without_a_chance_a_text_stays_as_it_is() -> None:
    assert Augment([], random.Random(1), chance=0.0)("$AAPL - up") == "$AAPL - up"
