"""What a model says of an article."""

from enum import StrEnum
from operator import itemgetter
from typing import Self

from pydantic import model_validator

from monitor.domain.article import Article
from monitor.domain.record import Record


class Sentiment(StrEnum):
    """Sentiment as an investor reads it.

    Source: labels as in the Financial PhraseBank (Malo et al. 2014).
    """

    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    POSITIVE = "positive"


class Topic(StrEnum):
    """The subject of an article.

    Source: the 20 labels of the data set Twitter Financial News Topic (zeroshot, MIT licence).
    """

    ANALYST_UPDATE = "Analyst Update"
    CENTRAL_BANKS = "Fed | Central Banks"
    COMPANY = "Company | Product News"
    DEBT = "Treasuries | Corporate Debt"
    DIVIDEND = "Dividend"
    EARNINGS = "Earnings"
    ENERGY = "Energy | Oil"
    FINANCIALS = "Financials"
    CURRENCIES = "Currencies"
    GENERAL = "General News | Opinion"
    METALS = "Gold | Metals | Materials"
    IPO = "IPO"
    LEGAL = "Legal | Regulation"
    MERGERS = "M&A | Investments"
    MACRO = "Macro"
    MARKETS = "Markets"
    POLITICS = "Politics"
    PERSONNEL = "Personnel Change"
    STOCK_COMMENTARY = "Stock Commentary"
    STOCK_MOVEMENT = "Stock Movement"


class Label(Record):
    """What one model said of one text.

    Units: probabilities in [0, 1], each of the two distributions summing to 1; labels not named have 0.
    """

    topic: dict[Topic, float]
    sentiment: dict[Sentiment, float]
    model_version: str

    @model_validator(mode="after")
    def _distributions(self) -> Self:
        for name, distribution in (("topic", self.topic), ("sentiment", self.sentiment)):
            total = sum(distribution.values())
            if not distribution or min(distribution.values()) < 0 or abs(total - 1) > 1e-3:
                raise ValueError(f"{name} is not a distribution: it sums to {total:.4f}")
        return self

    @property
    def top_topic(self) -> Topic:
        return max(self.topic.items(), key=itemgetter(1))[0]

    @property
    def top_sentiment(self) -> Sentiment:
        return max(self.sentiment.items(), key=itemgetter(1))[0]

    @property
    def polarity(self) -> float:
        """Positive minus negative probability, in [-1, 1]."""
        return self.sentiment.get(Sentiment.POSITIVE, 0.0) - self.sentiment.get(Sentiment.NEGATIVE, 0.0)


class LabelledArticle(Record):
    """An article and what one model said of it. Never edited; a newer model adds a new one.

    `label` is None where the article's language is not one the model knows: stored and counted, not labelled.
    """

    article: Article
    label: Label | None
