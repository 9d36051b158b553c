"""Which words made a network answer as it did: integrated gradients over its word embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from monitor.errors import ModelError, Reason, RecordError
from pipelines.classify.heads import Head

STEPS: Final = 50
_BATCH: Final = 10
_DIGITS: Final = 6


class Readable(Protocol):
    """What is explained: a network in single precision, as far as this module needs it."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    @property
    def version(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def temperature(self) -> Mapping[str, float]: ...

    @property
    def columns(self) -> Mapping[str, Sequence[int | None]]:
        """Which logit stands for each label of a head; None for a label that the model never gives."""
        ...

    def read(self, text: str) -> str:
        """The text as the model reads it."""
        ...


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and how far it speaks for the label (above 0) or against it. None: the model does not read so far."""

    text: str
    weight: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text got a label.

    Units: weights in log-odds of the label, `ln(p / (1 - p))`. With `baseline`, the log-odds of a text of padding, they
           sum to `log_odds` but for `delta`, which is the error of the integral.
    """

    text: str
    head: str
    label: str
    probabilities: dict[str, float]
    words: tuple[Word, ...]
    log_odds: float
    baseline: float
    delta: float
    steps: int
    model_version: str


def explain(network: Readable, text: str, head: Head, *, label: str | None = None, steps: int = STEPS) -> Explanation:
    """What speaks for `label`, or else for the label that the network gives this text.

    Raises: ModelError if the network cannot be explained or never gives that label; RecordError if no text is left.
    Source: M. Sundararajan, A. Taly, Q. Yan, Axiomatic Attribution for Deep Networks, ICML 2017.
    """
    plain = network.read(text)
    if not plain:
        raise RecordError(
            Reason.NO_TEXT, "nothing is left of the text without its links and marks; give one with words"
        )
    names, columns = _labels(network, head)
    if label is not None and label not in names:
        raise ModelError(f"{network.version} never says {head.name} {label}; it says: {', '.join(names)}")
    model: Any = network.model
    device = next(network.model.parameters()).device
    ids, special, offsets = _pieces(network, plain)
    ids = ids.to(device)
    mask = torch.ones_like(ids)
    padding = network.tokenizer.pad_token_id or 0
    blank = torch.where(special.to(device), ids, padding)

    def scaled(ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits.float()
        return logits[:, columns] / network.temperature.get(head.name, 1.0)

    with torch.no_grad():
        answer = scaled(ids, mask).softmax(-1)[0].tolist()
    target = names.index(label) if label is not None else max(range(len(names)), key=answer.__getitem__)
    others = [at for at in range(len(names)) if at != target]

    def log_odds(ids: Tensor, mask: Tensor) -> Tensor:
        logits = scaled(ids, mask)
        return logits[:, target] - logits[:, others].logsumexp(-1)

    gradients = LayerIntegratedGradients(log_odds, model.get_input_embeddings())
    parts = gradients.attribute(
        ids, baselines=blank, additional_forward_args=(mask,), n_steps=steps, internal_batch_size=_BATCH
    )
    pieces = parts.sum(-1)[0].tolist()
    with torch.no_grad():
        start, end = (float(log_odds(given, mask)[0]) for given in (blank, ids))
    return Explanation(
        text=plain,
        head=head.name,
        label=names[target],
        probabilities={name: round(share, _DIGITS) for name, share in zip(names, answer, strict=True)},
        words=_words(plain, pieces, offsets),
        log_odds=round(end, _DIGITS),
        baseline=round(start, _DIGITS),
        delta=round(sum(pieces) - (end - start), _DIGITS),
        steps=steps,
        model_version=network.version,
    )


def _labels(network: Readable, head: Head) -> tuple[list[str], list[int]]:
    """The labels of a head that the network can give, and their columns."""
    given = network.columns.get(head.name, ())
    known = [(str(name), at) for name, at in zip(head.labels, given, strict=bool(given)) if at is not None]
    if len(known) < 2:
        raise ModelError(f"{network.version} does not answer {head.name}; it answers {', '.join(network.columns)}")
    return [name for name, _ in known], [at for _, at in known]


def _pieces(network: Readable, plain: str) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """The text in pieces: their numbers, which of them are the tokenizer's own marks, where each lies in the text.

    Shapes: numbers and marks are (1, pieces).
    """
    if not network.tokenizer.is_fast:
        raise ModelError(
            f"{network.version}: its tokenizer does not say where its pieces lie; a tokenizer.json is needed"
        )
    encoded = network.tokenizer(
        plain,
        truncation=True,
        max_length=network.max_tokens,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    special = torch.tensor([encoded["special_tokens_mask"]], dtype=torch.bool)
    return torch.tensor([encoded["input_ids"]]), special, [(start, end) for start, end in encoded["offset_mapping"]]


def _words(plain: str, pieces: Sequence[float], offsets: Sequence[tuple[int, int]]) -> tuple[Word, ...]:
    """The words of a text with the sums of their pieces."""
    words = plain.split(" ")
    number = [at for at, word in enumerate(words) for _ in range(len(word) + 1)]
    weights: list[float | None] = [None] * len(words)
    for weight, (start, end) in zip(pieces, offsets, strict=True):
        if start < end:  # else it is a mark of the tokenizer, equal in the baseline and so without weight
            at = number[end - 1]  # by its last character, since a piece may begin with the space before it
            weights[at] = (weights[at] or 0.0) + weight
    return tuple(
        Word(word, None if weight is None else round(weight, _DIGITS))
        for word, weight in zip(words, weights, strict=True)
    )
