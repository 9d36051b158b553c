"""A Hugging Face sequence classifier as numbers in, numbers out: loading, precision, batches, calibration."""

import copy
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import structlog
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from monitor.errors import ModelError
from pipelines.classify.batch import plan
from pipelines.classify.heads import HEADS, WIDTH, Head
from pipelines.classify.models._opening import open_model
from pipelines.classify.models._probe import PROBE
from pipelines.classify.spelling import Speller
from pipelines.classify.text import normalise

log = structlog.get_logger(__name__)

Logits = np.ndarray[tuple[int, int], np.dtype[np.float32]]

PRECISIONS: Final = {"cpu": ("fp32", "bf16", "int8"), "cuda": ("bf16", "fp16", "fp32")}
_LONG_S: Final = 0.1  # what takes so long is timed well enough by once
AGREEMENT: Final = 0.03  # the most that a probability may differ from single precision, for a precision to be chosen
_ALIASES: Final = {"bearish": "negative", "bullish": "positive"}
_WINDOW: Final = 2_048  # texts sorted together; more would hardly lessen the padding
_LONGEST: Final = 512
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float32}


@dataclass(frozen=True, slots=True)
class Costs:
    """How a device is best filled.

    Units: both in tokens; see `batch.plan`. On a CPU small batches stay in the cache; a GPU wants them large.
    """

    max_tokens: int
    call_tokens: int


COSTS: Final = {"cpu": Costs(max_tokens=2_048, call_tokens=64), "cuda": Costs(max_tokens=65_536, call_tokens=8_192)}


class Network:
    """A classifier, where it runs, and which of its outputs answer which question.

    Shapes: logits and probabilities are (texts, 23), columns as in `heads`; NaN where a head is not answered.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        columns: Mapping[str, Sequence[int | None]],
        *,
        version: str,
        temperature: Mapping[str, float],
        max_tokens: int,
        device: str,
        precision: str,
        speller: Speller | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.columns = dict(columns)
        self.heads = tuple(head for head in HEADS if head.name in self.columns)
        self.version = version
        self.temperature = dict(temperature)
        self.max_tokens = max_tokens
        self.device = device
        self.precision = precision
        self._speller = speller
        self.costs = COSTS[device]
        self.tried: dict[str, float] = {}
        # Where no output answers a label, the index is -1: the column of minus infinity put at the end.
        wanted = [(head.start + at, column) for head in self.heads for at, column in enumerate(self.columns[head.name])]
        self._target = np.array([target for target, _ in wanted])
        self._source = np.array([-1 if column is None else column for _, column in wanted])

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        labels: Mapping[str, str] | None = None,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        max_batch_tokens: int = 0,
        compiled: bool = False,
    ) -> Self:
        """A model folder, or a model by its Hugging Face name, ready to answer.

        `labels` says what the model's own labels mean (`{"LABEL_0": "negative"}`); names of ours need no entry.
        Precision `auto` is the fastest of those the device knows, timed here and now, that agree with single
        precision. Threads 0 leaves one core to the rest of the process, None leaves their number as it is; it holds
        for the whole process.

        Raises: ModelError
        """
        device = _device(device)
        if threads is not None:
            set_threads(threads)
        model, tokenizer = open_model(str(name))
        columns = _columns(str(name), model.config, labels or {})
        ours: dict[str, Any] = getattr(model.config, "monitor", None) or {}
        longest = min(_LONGEST, getattr(model.config, "max_position_embeddings", _LONGEST))
        network = cls(
            model.eval().requires_grad_(False).to(device),
            tokenizer,
            columns,
            version=str(ours.get("version") or Path(name).name),
            temperature={head.name: float(ours.get("temperature", {}).get(head.name, 1.0)) for head in HEADS},
            max_tokens=min(int(ours.get("max_tokens") or 128), longest),
            device=device,
            precision="fp32",
            speller=Speller.of(Path(name)),
        )
        if max_batch_tokens:
            network.costs = replace(network.costs, max_tokens=max_batch_tokens)
        network.choose(precision)
        if compiled:
            network.model.compile(dynamic=True)
        network.warm_up()
        return network

    def logits(self, texts: Sequence[str]) -> Logits:
        """Raw answers, one row per text, in order. A text longer than `max_tokens` is read up to there."""
        found = np.full((len(texts), WIDTH), np.nan, np.float32)
        for start in range(0, len(texts), _WINDOW):
            self._window(texts[start : start + _WINDOW], found[start : start + _WINDOW])
        return found

    def probabilities(self, texts: Sequence[str]) -> Logits:
        """Calibrated answers: each answered head's columns sum to 1."""
        return calibrated(self.logits(texts), self.temperature, self.heads)

    def read(self, text: str) -> str:
        """The text as the model reads it: normalised, and slips of typing put right if it was made for that."""
        plain = normalise(text)
        return plain if self._speller is None else self._speller(plain)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens that are read of each text: the title first, then as much of the summary as there is room for."""
        found: list[list[int]] = self.tokenizer(
            [self.read(text) for text in texts],
            truncation=True,
            max_length=self.max_tokens,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return found

    @property
    def dtype(self) -> torch.dtype:
        """What goes into a layer."""
        return _DTYPES[self.precision]

    def convert(self, module: nn.Module) -> nn.Module:
        """A module in this network's precision."""
        return converted(module, self.precision)

    def choose(self, precision: str) -> None:
        """Takes this precision, or for `auto` the fastest that agrees with single precision on the probe texts.

        What each took on these is kept in `tried`, in seconds.

        Raises: ModelError if this device cannot compute in it.
        """
        if precision != "auto":
            if precision not in PRECISIONS[self.device]:
                raise ModelError(
                    f"precision {precision} is not for {self.device}; known: {', '.join(PRECISIONS[self.device])}"
                )
            self.model, self.precision = converted(self.model, precision), precision
            return
        best = plainest = self.model
        single = self._try()
        exact = single[1]
        took: dict[str, float] = {}
        for tried in PRECISIONS[self.device]:
            try:
                self.model = converted(plainest, tried)
                took_s, found = single if tried == "fp32" else self._try()
            except (RuntimeError, NotImplementedError) as error:  # this build or this device lacks it
                log.info("precision_not_available", precision=tried, error=str(error).splitlines()[0])
                continue
            apart = float(np.nanmax(np.abs(found - exact)))
            if apart > AGREEMENT:
                log.info("precision_refused", precision=tried, differs_by=round(apart, 4))
                continue
            took[tried] = round(took_s, 4)
            if took[tried] <= min(took.values()):
                best, self.precision = self.model, tried
        self.model, self.tried = best, took
        log.info("precision_chosen", precision=self.precision, probe_s=took)

    def warm_up(self) -> None:
        """Answers its largest batch once, so that the first article waits no longer than the others."""
        longest = "bank " * self.max_tokens
        rows = max(1, self.costs.max_tokens // self.max_tokens)
        self.logits([longest] * rows)

    def _try(self) -> tuple[float, Logits]:
        """How long the probe takes, the shorter of two times if it is short; and the answers."""
        self.logits(PROBE[:2])
        took_s = float("inf")
        began = time.perf_counter()
        for _ in range(2):
            start = time.perf_counter()
            found = self.probabilities(PROBE)
            took_s = min(took_s, time.perf_counter() - start)
            if time.perf_counter() - began > _LONG_S:
                break
        return took_s, found

    def _window(self, texts: Sequence[str], found: Logits) -> None:
        encoded = self.encode(texts)
        answers: list[tuple[list[int], Tensor]] = []
        todo = list(range(len(texts)))
        while todo:
            planned = plan(
                [len(encoded[at]) for at in todo], max_tokens=self.costs.max_tokens, call_tokens=self.costs.call_tokens
            )
            left: list[int] = []
            for batch in planned.batches:
                rows = [todo[at] for at in batch]
                if left:
                    left += rows
                    continue
                try:
                    answers.append((rows, self._forward([encoded[at] for at in rows])))
                except torch.OutOfMemoryError:
                    self._halve(len(rows))
                    left = rows
            todo = left
        if self.device == "cuda":
            torch.cuda.synchronize()  # once: until here every copy and launch went out without waiting
        for rows, answer in answers:
            wide = np.pad(answer.numpy(), ((0, 0), (0, 1)), constant_values=-np.inf)
            found[np.array(rows)[:, None], self._target] = wide[:, self._source]

    def _halve(self, rows: int) -> None:
        if rows == 1:
            raise ModelError(
                f"{self.version}: out of memory on {self.device} with a single text of {self.max_tokens} tokens"
            )
        torch.cuda.empty_cache()
        self.costs = replace(self.costs, max_tokens=max(self.max_tokens, self.costs.max_tokens // 2))
        log.warning("batch_budget_halved", device=self.device, max_tokens=self.costs.max_tokens)

    def _forward(self, encoded: Sequence[Sequence[int]]) -> Tensor:
        """Raw answers of one batch, on their way to the host."""
        longest = len(encoded[0])
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(encoded), longest), padding, dtype=torch.int64)
        mask: Tensor | None = None
        if any(len(row) != longest for row in encoded):
            mask = torch.zeros_like(ids)
        for at, row in enumerate(encoded):
            ids[at, : len(row)] = torch.as_tensor(row)
            if mask is not None:
                mask[at, : len(row)] = 1
        with torch.inference_mode():
            answer: Tensor = self.model(input_ids=self._there(ids), attention_mask=self._there(mask)).logits.float()
            if self.device == "cpu":
                return answer
            host = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
            return host.copy_(answer, non_blocking=True)

    def _there(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None or self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def calibrated(logits: Logits, temperature: Mapping[str, float], heads: Sequence[Head]) -> Logits:
    """Probabilities per head, from logits divided by that head's temperature; NaN in the columns of other heads.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    found = np.full(logits.shape, np.nan, np.float32)
    for head in heads:
        part = logits[:, head.start : head.end].astype(np.float64) / temperature.get(head.name, 1.0)
        powers = np.exp(part - part.max(axis=1, keepdims=True))
        found[:, head.start : head.end] = powers / powers.sum(axis=1, keepdims=True)
    return found


def converted(model: nn.Module, precision: str) -> nn.Module:
    """A copy of a single-precision model that computes in another precision; the model itself for `fp32`."""
    if precision == "fp32":
        return model
    if precision == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces that this entry point will move; the constraint pins it
            quantise: Any = torch.ao.quantization.quantize_dynamic
            quantised: nn.Module = quantise(model, {nn.Linear}, dtype=torch.qint8)
        return quantised
    return copy.deepcopy(model).to(_DTYPES[precision])


def set_threads(threads: int, *, spare: int = 1) -> int:
    """How many threads compute in this process; 0 is all cores but `spare`: an event loop needs one for itself."""
    chosen = threads or max(1, len(os.sched_getaffinity(0)) - spare)
    torch.set_num_threads(chosen)
    return chosen


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: this machine has no CUDA device that PyTorch can use; set device to auto or cpu")
    return wanted


def _columns(name: str, config: Any, labels: Mapping[str, str]) -> dict[str, list[int | None]]:
    """Which output answers which label, by head. A head is answered if one of its labels is."""
    columns: dict[str, list[int | None]] = {}
    unknown = []
    for at, said in sorted((int(at), str(said)) for at, said in config.id2label.items()):
        meant = labels.get(said, said)
        found = _meaning(meant)
        if found is None:
            unknown.append(said)
            continue
        head, index = found
        row = columns.setdefault(head.name, [None] * len(head.labels))
        if row[index] is not None:
            raise ModelError(f"{name}: two of its labels mean {head.labels[index]}")
        row[index] = at
    if unknown:
        raise ModelError(
            f"{name}: what does its label {', '.join(unknown)} mean? Say so in a label map, "
            f"as one of {', '.join(label for head in reversed(HEADS) for label in head.labels)}"
        )
    return columns


def _meaning(label: str) -> tuple[Head, int] | None:
    named, _, rest = label.partition(":")
    for head in HEADS:
        said = (rest if rest and named == head.name else label).lower()
        said = _ALIASES.get(said, said)
        for index, known in enumerate(head.labels):
            if known.value.lower() == said:
                return head, index
    return None
