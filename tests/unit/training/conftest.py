"""What the tests of judging share: rows, and networks that are right and wrong where a test wants it."""

import random

import pytest

from monitor.domain.labels import Sentiment, Topic
from pipelines.classify.heads import SENTIMENT
from pipelines.training.rows import Row
from tests.networks import ByRule


@pytest.fixture
def rows() -> list[Row]:
    """Sixty texts that the rule gets right, but for every tenth."""
    rng = random.Random(3)
    words = ["bank", "oil", "profit", "export", "harvest", "tariff", "wages", "credit", "steel", "copper", "freight"]
    found = []
    for number in range(60):
        mood = ("falls", "rises", "stays")[number % 3]
        subject = "dividend" if number % 2 else "output"
        text = f"{' '.join(rng.sample(words, 4))} {number} {subject} {mood}"
        row = Row(
            f"$AB{chr(65 + number % 7)} {text}" if number % 5 == 0 else text,
            Topic.DIVIDEND if number % 2 else Topic.MACRO,
            {"falls": Sentiment.NEGATIVE, "rises": Sentiment.POSITIVE, "stays": Sentiment.NEUTRAL}[mood],
        )
        found.append(Row(row.text, Topic.IPO, Sentiment.NEUTRAL) if number % 10 == 0 else row)
    return found


@pytest.fixture
def by_rule() -> ByRule:
    return ByRule()


@pytest.fixture
def sentiment_only() -> ByRule:
    return ByRule((SENTIMENT,))
