"""Judging a network whose answers are known beforehand."""

from collections.abc import Sequence

import numpy as np
import pytest

from monitor.domain.labels import Sentiment
from monitor.errors import DatasetError, ModelError
from pipelines.classify.heads import SENTIMENT, TOPIC
from pipelines.training.evaluate import Answers, evaluate, invariance
from pipelines.training.metrics import Numbers
from pipelines.training.rows import Row


def test_both_heads_are_judged_on_the_rows_labelled_for_them(by_rule: Answers, rows: list[Row]) -> None:
    half = [*rows[:30], *(Row(row.text, sentiment=row.sentiment) for row in rows[30:])]
    found = evaluate(by_rule, half, resamples=50)
    assert {name: head.figures.rows for name, head in found.heads.items()} == {"topic": 30, "sentiment": 60}
    assert found.heads["topic"].figures.accuracy.value == pytest.approx(0.9)
    assert found.heads["sentiment"].temperature == 1.5
    assert found == evaluate(by_rule, half, resamples=50)


def test_a_network_of_one_head_is_judged_on_that_one(sentiment_only: Answers, rows: list[Row]) -> None:
    assert list(evaluate(sentiment_only, rows, resamples=50).heads) == ["sentiment"]


def test_rows_labelled_for_something_else_are_refused(sentiment_only: Answers, rows: list[Row]) -> None:
    with pytest.raises(DatasetError, match="by-rule-1 answers; give rows labelled with sentiment"):
        evaluate(sentiment_only, [Row(row.text, topic=row.topic) for row in rows])


def test_texts_the_model_may_have_read_are_left_out_of_the_second_figures(by_rule: Answers, rows: list[Row]) -> None:
    training = [row.text + "!" for row in rows[::10]]  # just those it gets wrong
    found = evaluate(by_rule, rows, training, resamples=50)
    sentiment = found.heads["sentiment"]
    assert found.training_texts == 6
    assert sentiment.unseen is not None
    assert sentiment.unseen.rows == 54
    assert sentiment.unseen.accuracy.value == 1
    assert sentiment.figures.accuracy.value < 1


def test_without_an_unseen_text_there_are_no_such_figures(by_rule: Answers, rows: list[Row]) -> None:
    assert evaluate(by_rule, rows, [row.text for row in rows], resamples=50).heads["topic"].unseen is None
    assert evaluate(by_rule, rows, resamples=50).heads["topic"].unseen is None


def test_a_network_that_reads_case_flips_in_upper_case_and_keeps_its_mind_on_tickers(
    by_rule: Answers, rows: list[Row]
) -> None:
    texts = [row.text for row in rows]
    flips = {found.change: found for found in invariance(by_rule, SENTIMENT, texts)}
    assert flips["upper case"].texts == 60
    assert flips["upper case"].flipped.value == pytest.approx(2 / 3)  # falls and rises, but not stays
    assert flips["other tickers"].texts <= 12
    assert flips["other tickers"].flipped.value == 0
    assert 0 < flips["a typo in one of ten words"].flipped.value < 0.5


def test_a_change_that_touches_no_text_is_left_out(by_rule: Answers) -> None:
    assert [found.change for found in invariance(by_rule, TOPIC, ["oil falls", "oil rises"])] == [
        "upper case",
        "a typo in one of ten words",
    ]
    assert invariance(by_rule, TOPIC, ["12 %"]) == ()


def test_answers_that_are_no_numbers_are_not_counted_as_answers(by_rule: Answers, rows: list[Row]) -> None:
    class Overflown:
        heads, version, temperature = by_rule.heads, "hot", by_rule.temperature

        def probabilities(self, texts: Sequence[str]) -> Numbers:
            found = by_rule.probabilities(texts)
            found[0] = np.nan
            return found

    with pytest.raises(ModelError, match="hot has no topic for 1 of 60 texts"):
        evaluate(Overflown(), rows, resamples=50)


def test_the_document_ranks_first_and_then_tells_all(by_rule: Answers, rows: list[Row]) -> None:
    document = evaluate(by_rule, rows, resamples=50).document()
    head = document["heads"]["sentiment"]["figures"]
    assert next(iter(document)) == "headline"
    assert document["headline"]["sentiment"] == {
        "rows": 60,
        "accuracy": head["accuracy"]["value"],
        "macro_f1": head["macro_f1"]["value"],
        "ece": head["ece"]["value"],
    }
    assert [found["label"] for found in head["classes"]] == list(Sentiment)
