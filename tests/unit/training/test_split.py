"""Splits that keep what says the same together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.training.split import digest, groups, holdout, seen

WORDS = ["bank", "profit", "falls", "rises", "oil", "gas", "deal", "court", "loan", "yen"]
texts_of_words = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), min_size=2, max_size=40
)


def test_a_repost_is_in_its_original_s_group() -> None:
    texts = [
        "Carmaker recalls 40,000 vans over faulty brakes in Europe",
        "Something else entirely happened at the port today",
        "Carmaker recalls 40,000 vans over faulty brakes in Europe today",
        "CARMAKER RECALLS 40,000 VANS OVER FAULTY BRAKES IN EUROPE!",
    ]
    found = groups(texts)
    assert found[0] == found[2] == found[3] != found[1]
    assert seen(texts, texts[:1]) == [True, False, True, True]
    assert seen(texts, []) == [False] * 4


@settings(max_examples=40, deadline=None)
@given(texts_of_words, st.floats(0.05, 0.5), st.integers(0, 3))
def test_the_sides_of_a_split_share_no_group_and_lose_no_row(texts: list[str], share: float, seed: int) -> None:
    kept, held = holdout(texts, share, seed)
    assert sorted(kept + held) == list(range(len(texts)))
    assert len(held) <= share * len(texts)
    found = groups(texts)
    assert not {found[at] for at in kept} & {found[at] for at in held}
    assert holdout(texts, share, seed) == (kept, held)


def test_a_digest_tells_texts_and_their_borders() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"]) != digest(["a", "bc", ""])
    assert digest(["a"]) == digest(iter(["a"]))
