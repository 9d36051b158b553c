"""Slips of typing: what is put right before a model reads, and what is left alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ModelError
from pipelines.classify.spelling import FILE, Speller, count_words, read_words, write_words

LEARNT = {"profit": 90, "profits": 40, "plunges": 30, "regulator": 20, "bankruptcy": 12, "shares": 80, "halden": 2}

letters = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
words = st.one_of(
    letters, letters.map(str.upper), letters.map(str.title), st.sampled_from([*LEARNT, "Proft", "shraes"])
)


@pytest.fixture(scope="module")
def speller() -> Speller:
    return Speller(LEARNT)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("Proft plunges", "Profit plunges"),
        ("regualtor rejects drug", "regulator rejects drug"),
        ("SHRAES FALL", "SHARES FALL"),
        ("after bankkruptcy, again", "after bankruptcy, again"),
    ],
)
def test_one_slip_is_put_right_in_the_case_it_was_typed_in(speller: Speller, typed: str, read: str) -> None:
    assert speller(typed) == read


@pytest.mark.parametrize(
    "text",
    [
        "Halden gains",  # learnt, though seldom
        "Harden the sharers",  # in the dictionary, near a learnt word
        "$PROFT #proft @proft proft.com proft-taking proft's 3proft",
        "ProFit shareS",
        "shrs prft",
        "Zyxorium profits",
    ],
)
def test_names_marks_and_what_is_too_short_to_guess_stay(speller: Speller, text: str) -> None:
    assert speller(text) == text


def test_of_two_words_as_near_the_better_known_is_meant() -> None:
    assert Speller({"bonds": 5, "bands": 9})("bxnds") == "bands"
    assert Speller({"bonds": 9, "bands": 5})("bxnds") == "bonds"


def test_what_is_like_a_learnt_name_is_another_name() -> None:
    assert Speller({"eagelco": 50})("nagelco") == "nagelco"


@given(st.lists(words, max_size=8).map(" ".join))
def test_reading_twice_changes_nothing_and_case_does_not_matter(speller: Speller, text: str) -> None:
    once = speller(text)
    assert speller(once) == once
    assert len(once.split(" ")) == len(text.split(" "))
    assert speller(text.upper()) == once.upper()


def test_words_met_once_are_no_words() -> None:
    assert count_words(["Profit up, profit down", "Prft profitt"]) == {"profit": 2}


def test_a_folder_without_words_has_no_speller(tmp_path: Path) -> None:
    assert Speller.of(tmp_path) is None
    write_words(tmp_path, ["profit falls"] * 6)
    found = Speller.of(tmp_path)
    assert found is not None
    assert found("proft") == "profit"


@pytest.mark.parametrize("content", ["", "[]", '{"Profit": 2}', '{"profit": 0}', '{"profit": "2"}', '{"pro fit": 2}'])
def test_a_broken_file_of_words_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ModelError, match=FILE):
        read_words(tmp_path / FILE)


def test_the_file_is_the_same_for_the_same_texts(tmp_path: Path) -> None:
    write_words(tmp_path, iter(["profit b", "shares profit", "shares"]))
    assert json.loads((tmp_path / FILE).read_text()) == {"profit": 2, "shares": 2}
