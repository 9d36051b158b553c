"""The two questions a model answers, and where their answers lie in its output.

One classification layer of 23 logits serves both: the topics in the order of `Topic`, then the sentiments in the
order of `Sentiment`. So the model is an ordinary Hugging Face sequence classifier, which any tool can load.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from monitor.domain.labels import Sentiment, Topic


@dataclass(frozen=True, slots=True)
class Head:
    """One question: its name, its labels, and the columns `[start, end)` of the logits that answer it."""

    name: str
    labels: tuple[StrEnum, ...]
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.labels)


TOPIC: Final = Head("topic", tuple(Topic), 0)
SENTIMENT: Final = Head("sentiment", tuple(Sentiment), len(Topic))
HEADS: Final = (TOPIC, SENTIMENT)
WIDTH: Final = SENTIMENT.end


def id2label() -> dict[int, str]:
    """What each logit stands for, as a Hugging Face configuration names it: `topic:Dividend`, `sentiment:negative`."""
    return {head.start + index: f"{head.name}:{label}" for head in HEADS for index, label in enumerate(head.labels)}
