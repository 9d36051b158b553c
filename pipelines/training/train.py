"""Fine-tuning: an encoder and labelled rows in, a Hugging Face sequence classifier out."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, Sampler
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import get_last_checkpoint

from monitor.errors import ModelError
from pipelines.classify.heads import HEADS, WIDTH, Head, id2label
from pipelines.training.augment import Augment, tickers_of
from pipelines.training.rows import Row

UNLABELLED: Final = -100
CHECKPOINTS: Final = "checkpoints"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, besides the rows.

    Units: `max_tokens` per text; shares and chances in [0, 1]; `patience` in epochs.
    `lora`: rank of the adapters that are trained instead of the weights; 0 trains the weights.
    `freeze`: how many of the encoder's lowest layers keep their weights, the embeddings included; -1 trains all.
    `balance`: class weights are (1 / share of the class) to this power; 0 counts every row the same.
    `distil`: how much of the loss is the teacher's opinion, where a row has one.
    """

    base: str
    epochs: float = 4.0
    batch: int = 32
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup: float = 0.06
    smoothing: float = 0.05
    balance: float = 0.25
    freeze: int = -1
    max_tokens: int = 128
    augment: float = 0.8
    typos: float = 0.35
    lora: int = 0
    distil: float = 0.7
    temperature: float = 2.0
    patience: int = 2
    seed: int = 7


class Texts(Dataset[dict[str, Any]]):
    """Rows as the trainer takes them: the text, two label numbers, and the teacher's logits where it has some."""

    def __init__(self, rows: Sequence[Row], teacher: np.ndarray | None = None) -> None:
        self.rows = rows
        self.teacher = teacher

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        row = self.rows[at]
        labels = [
            head.labels.index(label) if label is not None else UNLABELLED
            for head, label in zip(HEADS, (row.topic, row.sentiment), strict=True)
        ]
        return {"text": row.text, "labels": labels, "teacher": None if self.teacher is None else self.teacher[at]}


class Collate:
    """A batch of rows as tensors, padded to its longest. With `augment`, each text is a new view every time."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int, augment: Augment | None = None) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._augment = augment

    def __call__(self, batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [self._augment(row["text"]) if self._augment else row["text"] for row in batch]
        tensors = dict(
            self._tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        )
        tensors["labels"] = torch.tensor([row["labels"] for row in batch])
        if batch[0]["teacher"] is not None:
            tensors["teacher"] = torch.from_numpy(np.stack([row["teacher"] for row in batch]))
        return tensors


class Loss:
    """Cross-entropy with the label where a row has one, and divergence from the teacher where that has an opinion.

    Shapes: logits (rows, 23); labels (rows, 2), `UNLABELLED` where there is none; teacher (rows, 23) or None, NaN in
    the columns of a head that it has no opinion of.
    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network, 2015.
    """

    def __init__(self, recipe: Recipe, weights: dict[str, Tensor]) -> None:
        self._recipe = recipe
        self._weights = weights

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        logits = logits.float()
        total = logits.new_zeros(())
        for column, head in enumerate(HEADS):
            said, wanted = logits[:, head.start : head.end], labels[:, column]
            taught = torch.zeros(len(logits), device=logits.device)
            if teacher is not None:
                opinion = teacher[:, head.start : head.end]
                known = opinion.isfinite().all(-1)
                taught = known.float() * self._recipe.distil
                total = total + (taught * self._divergence(said, opinion.nan_to_num(0.0))).sum()
            wrong = functional.cross_entropy(
                said,
                wanted,
                self._weights[head.name].to(logits.device),
                ignore_index=UNLABELLED,
                label_smoothing=self._recipe.smoothing,
                reduction="none",
            )
            total = total + ((1 - taught) * wrong).sum()
        return total / len(logits)

    def _divergence(self, said: Tensor, opinion: Tensor) -> Tensor:
        heat = self._recipe.temperature
        pointwise = functional.kl_div(
            functional.log_softmax(said / heat, -1),
            functional.log_softmax(opinion / heat, -1),
            reduction="none",
            log_target=True,
        )
        return heat**2 * pointwise.sum(-1)


def class_weights(rows: Sequence[Row], head: Head, power: float) -> Tensor:
    """One weight per label, rarer ones heavier, averaging 1 over the rows. Labels without rows weigh 1."""
    counts = Counter(getattr(row, head.name) for row in rows)
    total = sum(counts[label] for label in head.labels)
    raw = [(total / counts[label]) ** power if counts[label] else 1.0 for label in head.labels]
    mean = sum(w * counts[label] for w, label in zip(raw, head.labels, strict=True)) / max(total, 1)
    return torch.tensor([w / (mean or 1.0) for w in raw])


def unweigh(model: PreTrainedModel, weights: dict[str, Tensor], share: float) -> None:
    """Takes back from the logits what class weights put there: probabilities are then those of texts as they come.

    `share` is how much of the loss was weighted.
    Source: A. Menon et al., Long-tail learning via logit adjustment, 2021.
    """
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == WIDTH][-1]
    with torch.no_grad():
        for head in HEADS:
            last.bias[head.start : head.end] -= share * weights[head.name].log().to(last.bias.device)


def new_model(recipe: Recipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base encoder with a fresh classification layer of 23 logits.

    Raises: ModelError if there is no such encoder, or if it cannot be trained in the way asked for.
    """
    named = id2label()
    local = Path(recipe.base).exists()
    torch.manual_seed(recipe.seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(recipe.base, local_files_only=local, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            recipe.base,
            id2label=named,
            label2id={name: at for at, name in named.items()},
            problem_type="multi_label_classification",
            ignore_mismatched_sizes=True,
            local_files_only=local,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except Exception as error:  # noqa: BLE001  a hub, a disk, and three libraries can each fail in their own way
        raise ModelError(f"base {recipe.base}: cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    if recipe.freeze >= 0:
        _freeze(model, recipe.freeze)
    if recipe.lora:
        from peft import LoraConfig, TaskType, get_peft_model

        adapters = LoraConfig(
            task_type=TaskType.SEQ_CLS, r=recipe.lora, lora_alpha=2 * recipe.lora, target_modules="all-linear"
        )
        model = get_peft_model(model, adapters)
    return model, tokenizer


def _freeze(model: PreTrainedModel, layers: int) -> None:
    encoder = model.base_model
    stack = getattr(getattr(encoder, "encoder", None), "layer", None)
    if stack is None or not hasattr(encoder, "embeddings"):
        raise ModelError(f"{model.config.model_type}: its layers cannot be told apart; train it without --freeze")
    for part in (encoder.embeddings, *stack[:layers]):
        part.requires_grad_(False)


class ByLength(Sampler[int]):
    """A random order in which neighbours are of like length. Each epoch's order is its own, whatever came before.

    So a run that goes on from a checkpoint sees the batches that it would have seen.
    """

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(1_000_003 * self._seed + self._epoch)
        order: list[int] = get_length_grouped_indices(self._lengths, self._batch, generator=generator)
        return iter(order)


class _Trainer(Trainer):
    """A trainer of both heads at once, which fills batches with texts of like length."""

    loss: Loss
    lengths: list[int]
    plain: Collate

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002  the caller names it
    ) -> Any:
        labels, teacher = inputs.pop("labels"), inputs.pop("teacher", None)
        outputs = model(**inputs)
        loss = self.loss(outputs.logits, labels, teacher)
        inputs["labels"] = labels
        return (loss, {"logits": outputs.logits}) if return_outputs else loss

    def get_eval_dataloader(self, *arguments: Any, **named: Any) -> Any:
        views, self.data_collator = self.data_collator, self.plain
        try:
            return super().get_eval_dataloader(*arguments, **named)
        finally:
            self.data_collator = views

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ARG002  the caller names it
        return ByLength(self.lengths, self.args.train_batch_size, self.args.seed)


def _scores(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy of each head over its labelled rows."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels = np.asarray(prediction.label_ids)
    found = {}
    for column, head in enumerate(HEADS):
        known = labels[:, column] != UNLABELLED
        if known.any():
            said = np.asarray(logits)[known, head.start : head.end].argmax(-1)
            found[f"{head.name}_accuracy"] = float((said == labels[known, column]).mean())
    return found


def train(
    rows: Sequence[Row],
    validation: Sequence[Row],
    recipe: Recipe,
    output: Path,
    *,
    teacher: np.ndarray | None = None,
    resume: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of the epoch that lost least on the validation rows. Checkpoints lie in `output/checkpoints`.

    With `resume`, goes on from the last checkpoint there, if there is one.

    Shapes: `teacher` is (rows, 23): a larger model's logits for each row, to be learnt from besides the labels.
    """
    model, tokenizer = new_model(recipe)
    rng = cast("random.Random", random)  # the module's own generator: the one that checkpoints keep the state of
    augment = (
        Augment(tickers_of([row.text for row in rows]), rng, chance=recipe.augment, typos=recipe.typos)
        if recipe.augment
        else None
    )
    arguments = TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=64,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="linear",
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",  # of a few hundred rows, accuracy would choose by luck
        logging_steps=50,
        seed=recipe.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=Texts(rows, teacher),
        eval_dataset=Texts(validation),
        data_collator=Collate(tokenizer, recipe.max_tokens, augment),
        compute_metrics=_scores,
        callbacks=[EarlyStoppingCallback(recipe.patience)],
    )
    trainer.plain = Collate(tokenizer, recipe.max_tokens)
    weights = {head.name: class_weights(rows, head, recipe.balance) for head in HEADS}
    trainer.loss = Loss(recipe, weights)
    trainer.lengths = [
        len(ids)
        for ids in tokenizer([row.text for row in rows], truncation=True, max_length=recipe.max_tokens)["input_ids"]
    ]
    resume = resume and get_last_checkpoint(trainer.args.output_dir) is not None
    trainer.train(resume_from_checkpoint=resume or None)
    if recipe.lora:
        adapted: Any = model
        model = adapted.merge_and_unload()  # an ordinary folder, which nothing needs peft to load
    unweigh(model, weights, 1.0 if teacher is None else 1 - recipe.distil)
    return model.eval(), tokenizer
