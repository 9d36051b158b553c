"""Judging a model on labelled rows: is it right, does it know when it is not, and does it mind how a text is typed?"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np

from monitor.errors import DatasetError, ModelError
from pipelines.classify.heads import Head
from pipelines.training.augment import tickers_of, with_tickers, with_typos
from pipelines.training.metrics import RESAMPLES, Figures, Interval, Numbers, figures, proportion
from pipelines.training.rows import Row
from pipelines.training.split import seen

TYPO_SHARE: Final = 0.1


class Answers(Protocol):
    """What is judged: a network, as far as this module needs it."""

    @property
    def heads(self) -> tuple[Head, ...]: ...

    @property
    def version(self) -> str: ...

    @property
    def temperature(self) -> Mapping[str, float]: ...

    def probabilities(self, texts: Sequence[str]) -> Numbers:
        """Shapes: (texts, 23), columns as in `heads`; NaN where a head is not answered."""
        ...


@dataclass(frozen=True, slots=True)
class Flips:
    """How many answers change when a text is written otherwise. `texts` counts those that the change touches."""

    change: str
    texts: int
    flipped: Interval


@dataclass(frozen=True, slots=True)
class HeadReport:
    """One question. `unseen` are the rows without a near-duplicate among the training texts.

    `unseen` is None where no training texts were given, or where every row has a near-duplicate in them.
    """

    temperature: float
    figures: Figures
    unseen: Figures | None
    invariance: tuple[Flips, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a model is worth on some rows. `heads` are by name, and only those that could be judged."""

    version: str
    seed: int
    resamples: int
    training_texts: int | None
    heads: dict[str, HeadReport]

    def document(self) -> dict[str, Any]:
        """What `metrics.json` holds: the few figures that rank models on top, then all of them."""
        headline = {
            name: {
                "rows": head.figures.rows,
                "accuracy": head.figures.accuracy.value,
                "macro_f1": head.figures.macro_f1.value,
                "ece": head.figures.ece.value,
            }
            for name, head in self.heads.items()
        }
        return {"headline": headline, **asdict(self)}


def evaluate(
    network: Answers,
    rows: Sequence[Row],
    training_texts: Sequence[str] | None = None,
    *,
    seed: int = 7,
    resamples: int = RESAMPLES,
) -> Report:
    """Judges each question that the model answers and that some row is labelled for. Equal seeds give equal reports.

    Raises: DatasetError if there is no such question; ModelError if the model answers with what is no number.
    """
    found = {}
    for head in network.heads:
        labelled = [row for row in rows if getattr(row, head.name) is not None]
        if labelled:
            found[head.name] = _judge(network, head, labelled, training_texts, seed, resamples)
    if not found:
        answered = " or ".join(head.name for head in network.heads)
        raise DatasetError(f"no row is labelled for what {network.version} answers; give rows labelled with {answered}")
    return Report(network.version, seed, resamples, None if training_texts is None else len(training_texts), found)


def _judge(
    network: Answers, head: Head, rows: Sequence[Row], training: Sequence[str] | None, seed: int, resamples: int
) -> HeadReport:
    texts = [row.text for row in rows]
    names = [str(label) for label in head.labels]
    truth = np.array([head.labels.index(getattr(row, head.name)) for row in rows])
    shares = _answers(network, head, texts)
    unseen = None
    if training is not None:
        new = ~np.array(seen(texts, training))
        if new.any():
            unseen = figures(shares[new], truth[new], names, resamples=resamples, seed=seed)
    return HeadReport(
        temperature=network.temperature.get(head.name, 1.0),
        figures=figures(shares, truth, names, resamples=resamples, seed=seed),
        unseen=unseen,
        invariance=invariance(network, head, texts, seed=seed, shares=shares),
    )


def invariance(
    network: Answers, head: Head, texts: Sequence[str], *, seed: int = 7, shares: Numbers | None = None
) -> tuple[Flips, ...]:
    """The share of answers that flip under changes that keep the meaning. Changes that touch no text are left out.

    `shares`: the answers to the texts as they are, for whoever has them already.
    """
    tickers = tickers_of(texts)

    def renamed(text: str, rng: random.Random) -> str:
        return with_tickers(text, tickers, rng) if tickers else text

    changes: dict[str, Callable[[str, random.Random], str]] = {
        "upper case": lambda text, _: text.upper(),
        "a typo in one of ten words": lambda text, rng: with_typos(text, TYPO_SHARE, rng),
        "other tickers": renamed,
    }
    before = (_answers(network, head, texts) if shares is None else shares).argmax(1)
    found = []
    for name, change in changes.items():
        rng = random.Random(seed)
        changed = [change(text, rng) for text in texts]
        touched = [at for at, text in enumerate(texts) if changed[at] != text]
        if touched:
            after = _answers(network, head, [changed[at] for at in touched]).argmax(1)
            found.append(Flips(name, len(touched), proportion(int((after != before[touched]).sum()), len(touched))))
    return tuple(found)


def _answers(network: Answers, head: Head, texts: Sequence[str]) -> Numbers:
    """Shapes: (texts, labels of the head).

    Raises: ModelError where the model answers with something that is no number.
    """
    shares = network.probabilities(texts)[:, head.start : head.end]
    lost = np.isnan(shares).any(1)
    if lost.any():
        raise ModelError(
            f"{network.version} has no {head.name} for {lost.sum()} of {len(texts)} texts; try precision fp32"
        )
    return shares
