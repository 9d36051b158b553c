"""One training run from files to a model folder: rows, split, teacher, weights, calibration, figures, card."""

import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError, ModelError
from pipelines.classify.heads import HEADS, WIDTH
from pipelines.classify.models._network import Network
from pipelines.classify.spelling import write_words
from pipelines.classify.text import normalise
from pipelines.training import card, split
from pipelines.training.evaluate import evaluate
from pipelines.training.metrics import fit_temperature
from pipelines.training.newswire import sentences
from pipelines.training.rows import File, Labels, Row, read
from pipelines.training.train import CHECKPOINTS, Recipe, train

log = structlog.get_logger(__name__)

_PACKAGES: Final = ("torch", "transformers", "tokenizers", "peft", "numpy")


@dataclass(frozen=True, slots=True)
class Job:
    """A run. Shares in [0, 1].

    `newswire`: how many written sentences to add to the rows. `joined`: how many pairs of rows, as one text each.
    `teachers`: folders or names of models whose opinions, averaged, the new one learns besides the labels.
    `spelling`: whether the model's texts are to be read with slips of typing put right.
    `pieces`: how many parts and splices of rows to add, which nobody labelled: only with teachers.
    """

    version: str
    training: Sequence[File]
    recipe: Recipe
    output: Path
    today: date
    labels: Path | None = None
    validation: Sequence[File] = ()
    holdout: float = 0.06
    teachers: Sequence[str] = ()
    newswire: int = 0
    joined: int = 0
    pieces: int = 0
    spelling: bool = True
    base_name: str = ""
    base_licence: str = "unknown"
    data_licence: str = "unknown"
    licence: str = "unknown"
    resume: bool = False


def run(job: Job) -> Path:
    """Trains, calibrates, judges and writes the model folder. Returns: the folder, `job.output`.

    The rows held out from training stop it early and fit the temperatures; the validation files, which neither
    training nor calibration sees, are judged in the card (the held-out rows where there are none).

    Raises: DatasetError, ModelError, OSError
    """
    _refuse_leftovers(job)
    names = Labels.read(job.labels)
    read_rows = {file: read(file.name, names, only=file.head) for file in (*job.training, *job.validation)}
    rows = merged([row for file in job.training for row in read_rows[file]])
    judged = [row for file in job.validation for row in read_rows[file]]
    kept, held = split.holdout([row.text for row in rows], job.holdout, job.recipe.seed)
    learnt, held_out = [rows[at] for at in kept], [rows[at] for at in held]
    if not learnt or not held_out:
        raise DatasetError(f"{len(rows)} different rows are too few to hold {job.holdout:.0%} of them out; give more")
    written = sentences(job.newswire, job.recipe.seed) if job.newswire else []
    longer = joined(learnt, job.joined, job.recipe.seed)
    if job.teachers:
        longer += pieces(learnt, job.pieces, job.recipe.seed)
    log.info(
        "rows_read",
        training=len(learnt),
        held_out=len(held_out),
        validation=len(judged),
        written=len(written),
        made=len(longer),
    )

    _same_run(job, [row.text for row in (*learnt, *longer, *written)])
    opinions = _opinions(job, [*learnt, *longer], written) if job.teachers else None
    model, tokenizer = train(
        [*learnt, *longer, *written], held_out, job.recipe, job.output, teacher=opinions, resume=job.resume
    )

    model.config.monitor = {"version": job.version, "temperature": {}, "max_tokens": job.recipe.max_tokens}
    _save(model, tokenizer, job.output)
    if job.spelling:
        write_words(job.output, (row.text for row in (*learnt, *written)))
    network = Network.load(job.output, precision="fp32")
    network.temperature = _temperatures(network, held_out)
    model.config.monitor["temperature"] = network.temperature
    model.config.save_pretrained(job.output)
    log.info("model_calibrated", **{name: round(value, 3) for name, value in network.temperature.items()})

    texts = [row.text for row in learnt]
    report = evaluate(network, judged or held_out, texts)
    card.write(job.output, report, _origin(job, read_rows, learnt, held_out, written))
    shutil.rmtree(job.output / CHECKPOINTS)
    return job.output


def merged(rows: Sequence[Row]) -> list[Row]:
    """Each text once, with all that is known of it; of two labels for one question the first is kept."""
    found: dict[str, Row] = {}
    for row in rows:
        known = found.get(row.text)
        if known is None:
            found[row.text] = row
        else:
            found[row.text] = Row(row.text, known.topic or row.topic, known.sentiment or row.sentiment)
    return list(found.values())


def joined(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Pairs of rows as one text, as long as a title with its summary; labelled as far as the two agree."""
    alike: dict[Topic | Sentiment, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.topic or row.sentiment or Sentiment.NEUTRAL].append(row)
    rng = random.Random(seed)
    found = []
    for first in rng.choices(rows, k=count) if rows else ():
        second = rng.choice(alike[first.topic or first.sentiment or Sentiment.NEUTRAL])
        sentiment = first.sentiment if first.sentiment == second.sentiment else None
        found.append(Row(normalise(f"{first.text}\n{second.text}"), first.topic, sentiment))
    return found


def pieces(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Parts of rows, and beginnings of one with the end of another: no labels, for teachers to have opinions on.

    On the rows themselves teachers say little more than the labels, which they have learnt by heart.
    """
    rng = random.Random(seed)
    found = []
    for first, second in zip(rng.choices(rows, k=count), rng.choices(rows, k=count), strict=True):
        words, others = first.text.split(), second.text.split()
        if rng.random() < 0.5:
            length = max(3, round(len(words) * rng.uniform(0.5, 0.85)))
            start = rng.randint(0, max(0, len(words) - length))
            found.append(" ".join(words[start : start + length]))
        else:
            found.append(" ".join([*words[: max(2, len(words) // 2)], *others[len(others) // 2 :]]))
    return [Row(text, None, None) for text in found]


def _refuse_leftovers(job: Job) -> None:
    """A folder of another run is neither mixed with this one nor overwritten."""
    unfinished = (job.output / CHECKPOINTS).exists()  # they go last
    if (job.output / "model.safetensors").exists() and not unfinished:
        raise ModelError(f"{job.output}: there is a model in it already; name another --output")
    if unfinished and not job.resume:
        raise ModelError(f"{job.output}: a run was cut off here; go on with --resume, or name another --output")


def _same_run(job: Job, texts: Sequence[str]) -> None:
    """Another recipe would go on from weights that it did not make, and the card would not say so."""
    begun = job.output / CHECKPOINTS / "run.sha256"
    run = split.digest([repr(job.recipe), *job.teachers, *texts])
    if begun.exists() and begun.read_text(encoding="utf-8") != run:
        raise ModelError(
            f"{job.output}: this run was begun with other settings or texts; go on with those, or name another --output"
        )
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(run, encoding="utf-8")


def _opinions(job: Job, learnt: Sequence[Row], written: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The teachers' calibrated logits, kept beside the checkpoints: the logarithm of what they expect on average.

    None on what a written sentence says of itself for certain.
    """
    texts = [row.text for row in (*learnt, *written)]
    kept, key = job.output / CHECKPOINTS / "teacher.npz", split.digest([*job.teachers, *texts])
    if kept.exists():
        with np.load(kept) as file:
            if str(file["key"]) == key:
                saved: np.ndarray[Any, np.dtype[np.float32]] = file["logits"]
                return saved
    expected = np.zeros((len(texts), WIDTH), np.float32)
    for name in job.teachers:
        teacher = Network.load(name)
        log.info("teacher_reads", teacher=teacher.version, texts=len(texts), precision=teacher.precision)
        expected += teacher.probabilities(texts) / len(job.teachers)
    logits: np.ndarray[Any, np.dtype[np.float32]] = np.log(np.maximum(expected, np.finfo(np.float32).tiny))
    for at, row in enumerate(written, start=len(learnt)):
        for head in HEADS:
            if getattr(row, head.name) is not None:
                logits[at, head.start : head.end] = np.nan
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(kept, logits=logits, key=key)
    return logits


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """In half precision: the weights differ by less than what training them again would change."""
    model.to(torch.float16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # the library leaves it to its owner alone
    tokenizer.save_pretrained(folder)


def _temperatures(network: Network, rows: Sequence[Row]) -> dict[str, float]:
    logits = network.logits([row.text for row in rows])
    found = {}
    for head in HEADS:
        known = [at for at, row in enumerate(rows) if getattr(row, head.name) is not None]
        if known:
            truth = np.array([head.labels.index(getattr(rows[at], head.name)) for at in known])
            found[head.name] = round(fit_temperature(logits[known, head.start : head.end], truth), 4)
    return found


def _origin(
    job: Job, rows: dict[File, list[Row]], learnt: Sequence[Row], held_out: Sequence[Row], written: Sequence[Row]
) -> card.Origin:
    files = [
        card.DataFile.of(
            Path(file.name),
            role=role,
            head=file.head or "topic and sentiment",
            rows=len(rows[file]),
            licence=job.data_licence,
        )
        for role, group in (("training", job.training), ("evaluation", job.validation))
        for file in group
        if Path(file.name).exists()
    ]
    splits = [
        card.Split.of(name, (row.text for row in part))
        for name, part in (("training", learnt), ("held out", held_out), ("written", written))
        if part
    ]
    return card.Origin(
        name="News Monitor classifier",
        version=job.version,
        date=job.today,
        licence=job.licence,
        base=job.base_name or Path(job.recipe.base).name,
        base_licence=job.base_licence,
        recipe=job.recipe,
        files=tuple(files),
        splits=tuple(splits),
        environment={
            **{name: package_version(name) for name in _PACKAGES},
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
            **({"teachers": ", ".join(Path(name).name for name in job.teachers)} if job.teachers else {}),
        },
    )
