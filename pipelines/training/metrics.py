"""Figures of merit: how often a classifier is right, how well it knows it, and how sure these figures are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import classification_report, confusion_matrix, precision_recall_fscore_support

Numbers = np.ndarray[Any, np.dtype[Any]]

BINS: Final = 15
COVERAGES: Final = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
RESAMPLES: Final = 1000
_LEAST: Final = 1e-12  # a probability below is taken as this, so that one sure mistake leaves the mean finite
_TEMPERATURES: Final = (0.05, 20.0)
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One label. None where a figure is not defined: a precision of what was never said, a recall of what never was."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Bin:
    """The rows whose confidence lies in `(low, high]`."""

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What remains, and how right it is, when texts below a confidence of `threshold` are left unanswered."""

    coverage: float
    threshold: float
    rows: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one question's answers are worth on one set of rows.

    Shapes: `confusion` is (labels, labels), rows the truth and columns the answers, in the order of `classes`.
    Units:  `nll` in nats per row; all other floats are shares in [0, 1].
    """

    rows: int
    accuracy: Interval
    macro_f1: Interval
    weighted_f1: Interval
    ece: Interval
    nll: float
    classes: tuple[ClassFigures, ...]
    reliability: tuple[Bin, ...]
    abstention: tuple[Coverage, ...]
    confusion: tuple[tuple[int, ...], ...]


def figures(
    probabilities: Numbers, truth: Numbers, names: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 7
) -> Figures:
    """All figures of one question.

    Shapes: `probabilities` is (rows, labels), at least one row; `truth` holds (rows,) label numbers.
    Score:  macro and weighted F1 are means over the labels that occur or are answered, as scikit-learn takes them.
    Source: intervals are percentiles of the bootstrap (Efron 1979). That of the ECE lies high where the ECE is near 0,
            since resampling adds noise to it.
    """
    shares = np.asarray(probabilities, np.float64)
    said, confidence = shares.argmax(1), shares.max(1)
    correct = said == truth
    accuracy, macro, weighted, ece = _intervals(said, truth, confidence, len(names), resamples, seed)
    return Figures(
        rows=len(shares),
        accuracy=accuracy,
        macro_f1=macro,
        weighted_f1=weighted,
        ece=ece,
        nll=_rounded(negative_log_likelihood(shares, truth)),
        classes=per_class(said, truth, names),
        reliability=reliability(confidence, correct),
        abstention=abstention(confidence, correct),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, said, labels=range(len(names)))),
    )


def per_class(said: Numbers, truth: Numbers, names: Sequence[str]) -> tuple[ClassFigures, ...]:
    columns = precision_recall_fscore_support(truth, said, labels=range(len(names)), zero_division=np.nan)
    return tuple(
        ClassFigures(name, _known(precision), _known(recall), _known(f1), int(support))
        for name, precision, recall, f1, support in zip(names, *columns, strict=True)
    )


def reliability(confidence: Numbers, correct: Numbers) -> tuple[Bin, ...]:
    """Confidence against accuracy in bins of equal width."""
    at = _bin(confidence)
    rows, sure, right = (np.bincount(at, weights, BINS) for weights in (None, confidence, correct))
    return tuple(
        Bin(
            low=_rounded(number / BINS),
            high=_rounded((number + 1) / BINS),
            rows=int(rows[number]),
            confidence=_rounded(sure[number] / rows[number]) if rows[number] else None,
            accuracy=_rounded(right[number] / rows[number]) if rows[number] else None,
        )
        for number in range(BINS)
    )


def expected_calibration_error(confidence: Numbers, correct: Numbers) -> float:
    """The mean distance between confidence and accuracy, over bins of equal width weighted by their rows.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    return float(np.abs(np.bincount(_bin(confidence), correct - confidence, BINS)).sum() / len(confidence))


def negative_log_likelihood(probabilities: Numbers, truth: Numbers) -> float:
    """Units: nats per row."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], _LEAST)).mean())


def fit_temperature(logits: Numbers, truth: Numbers) -> float:
    """The number to divide logits by, for which the truth is likeliest; above 1 the model was too sure of itself.

    Shapes: `logits` is (rows, labels), `truth` holds (rows,) label numbers.
    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    wide = np.asarray(logits, np.float64)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(wide / np.exp(log_temperature), axis=1)[rows, truth].mean())

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def abstention(confidence: Numbers, correct: Numbers) -> tuple[Coverage, ...]:
    """Accuracy of the surest texts, for ever fewer of them."""
    order = np.argsort(-confidence, kind="stable")
    kept = [max(1, round(share * len(order))) for share in COVERAGES]
    return tuple(
        Coverage(
            coverage=share,
            threshold=_rounded(confidence[order[count - 1]]),
            rows=count,
            accuracy=_rounded(correct[order[:count]].mean()),
        )
        for share, count in zip(COVERAGES, kept, strict=True)
    )


def proportion(hits: int, total: int) -> Interval:
    """A share with its interval, which has a width even where nothing or everything was hit.

    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    bounds = binomtest(hits, total).proportion_ci(method="wilson")
    return Interval(_rounded(hits / total), _rounded(bounds.low), _rounded(bounds.high))


def report_text(found: Figures) -> str:
    """Precision, recall and F1 per label, as scikit-learn prints them."""
    names = [figure.label for figure in found.classes]
    cells = np.array(found.confusion)
    truth, said = (np.repeat(axis.ravel(), cells.ravel()) for axis in np.indices(cells.shape))
    text: str = classification_report(
        truth, said, labels=range(len(names)), target_names=names, digits=4, zero_division=0
    )
    return text


def _intervals(
    said: Numbers, truth: Numbers, confidence: Numbers, labels: int, resamples: int, seed: int
) -> tuple[Interval, ...]:
    """Of accuracy, macro F1, weighted F1 and ECE, over the same resampled rows."""
    cell, correct = truth * labels + said, said == truth

    def statistic(rows: Numbers) -> Numbers:
        confusion = np.bincount(cell[rows], minlength=labels**2).reshape(labels, labels)
        return np.array([*_scores(confusion), expected_calibration_error(confidence[rows], correct[rows])])

    everything = np.arange(len(truth))
    point = statistic(everything)
    low = high = point
    if len(truth) > 1:
        found = bootstrap(
            (everything,), statistic, n_resamples=resamples, vectorized=False, method="percentile", rng=seed
        )
        low, high = found.confidence_interval
    return tuple(Interval(*map(_rounded, bounds)) for bounds in zip(point, low, high, strict=True))


def _scores(confusion: Numbers) -> tuple[float, float, float]:
    """Accuracy, macro F1, weighted F1. Equal to scikit-learn's, but fast enough for a thousand resamples."""
    hits, was, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    seen = was + said > 0
    f1 = 2 * hits[seen] / (was + said)[seen]
    return hits.sum() / was.sum(), f1.mean(), (f1 * was[seen]).sum() / was.sum()


def _bin(confidence: Numbers) -> Numbers:
    found: Numbers = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else _rounded(value)


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)
