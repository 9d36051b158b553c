"""Made-up newswire sentences: the same for the same seed, labelled by what they say and not by how they look."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.labels import Sentiment, Topic
from pipelines.classify.text import normalise
from pipelines.training import newswire
from pipelines.training.newswire import SHARES, Metric, compare, grammar, sentences

NEGATIVE, NEUTRAL, POSITIVE = Sentiment.NEGATIVE, Sentiment.NEUTRAL, Sentiment.POSITIVE
ROWS = sentences(15_000, seed=1)

figures = st.floats(min_value=1.0, max_value=5_000.0)
clear = st.floats(min_value=newswire.CLEAR + 0.01, max_value=20.0)
_ROLES = {"(?:went|moved|changed) from": "old", "went to": "new", "(?:compared with|versus|had expected)": "old"}

seeds = st.integers(0, 2**32)
figure_names = st.sampled_from(grammar().metrics)


def test_a_seed_yields_the_same_texts_each_time() -> None:
    assert sentences(300, seed=7) == sentences(300, seed=7)
    assert sentences(300, seed=7) != sentences(300, seed=8)


@pytest.mark.parametrize("count", [0, 1, 1_234])
def test_as_many_as_asked_for(count: int) -> None:
    assert len(sentences(count, seed=2)) == count


def test_texts_are_normalised_and_complete() -> None:
    for row in ROWS:
        assert row.text == normalise(row.text)
        assert not re.search(r"[{}\[\]|#]|\(n\)|\(\)| [,;.](?!\d)|[,;] ?[,;.]", row.text), row.text
        assert isinstance(row.sentiment, Sentiment)
        assert row.topic is None or isinstance(row.topic, Topic)


def test_shares_of_the_sentiments_are_as_wanted() -> None:
    found = Counter(row.sentiment for row in ROWS)
    for sentiment, share in SHARES.items():
        assert found[sentiment] / len(ROWS) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("topic", [Topic.IPO, Topic.METALS, Topic.CURRENCIES, Topic.DIVIDEND])
def test_topics_that_are_rare_elsewhere_are_not_rare_here(topic: Topic) -> None:
    found = Counter(row.sentiment for row in ROWS if row.topic is topic)
    assert found.total() >= 100
    assert min(found[sentiment] for sentiment in Sentiment) >= 20


def test_hardly_a_text_differs_from_another_in_its_figures_alone() -> None:
    shapes = {re.sub(r"\d+", "0", row.text.lower()) for row in ROWS[:5_000]}
    assert len(shapes) > 0.95 * 5_000


@given(figure_names, figures, clear, seeds)
def test_the_figures_decide(metric: Metric, old: float, stretch: float, seed: int) -> None:
    """Up is what the metric says it is, and down the opposite."""
    better, worse = (POSITIVE, NEGATIVE) if metric.up is POSITIVE else (NEGATIVE, POSITIVE)
    assert compare(metric, old * stretch, old, random.Random(seed)).sentiment is better
    assert compare(metric, old, old * stretch, random.Random(seed)).sentiment is worse
    assert compare(metric, old, old, random.Random(seed)).sentiment is NEUTRAL


@pytest.mark.parametrize("metric", grammar().metrics, ids=lambda metric: metric.name)
@pytest.mark.parametrize(("new", "old"), [(2222.2, 1111.1), (1111.1, 2222.2)])
def test_words_that_tell_the_new_figure_from_the_old_agree_with_the_label(
    metric: Metric, new: float, old: float
) -> None:
    up = new > old
    for seed in range(60):
        text = compare(metric, new, old, random.Random(seed)).text.replace(",", "")
        assert re.search("1111|2222", text)
        for pattern, figure in _ROLES.items():
            for said in re.finditer(rf"\b{pattern} \D{{0,8}}(1111|2222)", text):
                assert float(said[1]) == int(new if figure == "new" else old), text
        if re.search(r"\b(rose|increased|grew|climbed|up from|UP at)\b", text):
            assert up, text
        if re.search(r"\b(fell|decreased|shrank|declined|down from|DOWN at)\b", text):
            assert not up, text


@pytest.mark.parametrize("word", ["EUR", "USD", "Rs", "SEK", "million", "Oyj", "plc", "Ltd", "Inc", "AB"])
def test_a_currency_or_a_company_says_nothing_of_the_label(word: str) -> None:
    found = Counter(row.sentiment for row in ROWS if re.search(rf"\b{word}\b", row.text))
    assert found[POSITIVE] / (found[POSITIVE] + found[NEGATIVE]) == pytest.approx(0.3 / 0.55, abs=0.1)
    assert found[NEUTRAL] / found.total() == pytest.approx(SHARES[NEUTRAL], abs=0.15)


def test_every_frame_can_be_written() -> None:
    families = [(family, kind) for family in grammar().families for kind in family.frames]
    for family, kind in families:
        for frame in family.frames[kind]:
            assert newswire._Writer(random.Random(0)).write(frame).strip()
