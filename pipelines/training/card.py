"""What lies beside the weights: figures for programs, figures for people, and where the weights come from."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic_core import to_json

from pipelines.classify.heads import HEADS
from pipelines.classify.spelling import FILE as WORDS
from pipelines.training import plots
from pipelines.training.evaluate import Report
from pipelines.training.metrics import Interval, report_text
from pipelines.training.split import digest

if TYPE_CHECKING:
    from pipelines.training.train import Recipe  # which imports torch

METRICS: Final = "metrics.json"
REPORT: Final = "classification_report.txt"
CARD: Final = "MODEL_CARD.md"
FEWEST_ROWS: Final = 30  # a label judged on fewer is named in the card as not judged well


@dataclass(frozen=True, slots=True)
class DataFile:
    """A labelled file that went into the weights or into their figures. `role`: training, validation, evaluation."""

    name: str
    role: str
    head: str
    rows: int
    licence: str
    sha256: str

    @classmethod
    def of(cls, path: Path, *, role: str, head: str, rows: int, licence: str) -> Self:
        """Raises: OSError if the file cannot be read."""
        with path.open("rb") as file:
            return cls(path.name, role, head, rows, licence, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, slots=True)
class Split:
    """The texts on one side of a split, told by a hash: equal hashes mean equal texts in equal order."""

    name: str
    rows: int
    sha256: str

    @classmethod
    def of(cls, name: str, texts: Iterable[str]) -> Self:
        listed = list(texts)
        return cls(name, len(listed), digest(listed))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from. `base` is the encoder's public name; licences are SPDX identifiers.

    `environment`: what else decides the weights, such as versions of packages and the device.
    """

    name: str
    version: str
    date: date
    licence: str
    base: str
    base_licence: str
    recipe: "Recipe"
    files: tuple[DataFile, ...] = ()
    splits: tuple[Split, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def write(folder: Path, report: Report, origin: Origin | None = None) -> tuple[Path, ...]:
    """Writes metrics.json, classification_report.txt, two PNGs per head, and with an origin MODEL_CARD.md.

    Equal arguments give equal bytes. Returns: the files written.

    Raises: OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {METRICS: to_json(report.document(), indent=2).decode() + "\n", REPORT: _reports(report)}
    if origin is not None:
        written[CARD] = card(report, origin, spelling=(folder / WORDS).exists())
    for file, content in written.items():
        (folder / file).write_text(content, encoding="utf-8", newline="\n")
    pictures = []
    for name, head in report.heads.items():
        for kind, draw in (("confusion", plots.confusion), ("reliability", plots.reliability)):
            pictures.append(folder / f"{kind}_{name}.png")
            plots.save(draw(head.figures, name.capitalize()), pictures[-1])
    return (*(folder / file for file in written), *pictures)


def card(report: Report, origin: Origin, *, pictures: bool = True, spelling: bool = False) -> str:
    """The model card: Markdown with the front matter that Hugging Face reads.

    `spelling`: the model's texts are read with slips of typing put right.

    Source: M. Mitchell et al., Model Cards for Model Reporting, 2019.
    """
    recipe = {name: value for name, value in dataclasses.asdict(origin.recipe).items() if name != "base"}
    scarce = {
        name: [found.label for found in head.figures.classes if found.support < FEWEST_ROWS]
        for name, head in report.heads.items()
    }
    return _TEMPLATES.get_template("MODEL_CARD.md.j2").render(
        front=_front(report, origin),
        report=report,
        origin=origin,
        heads=[head for head in HEADS if head.name in report.heads],
        recipe=recipe,
        scarce={name: labels for name, labels in scarce.items() if labels},
        fewest=FEWEST_ROWS - 1,
        pictures=pictures,
        words=WORDS if spelling else None,
    )


def _front(report: Report, origin: Origin) -> str:
    results = []
    for name, head in report.heads.items():
        judged = [file.name for file in origin.files if file.role == "evaluation" and name in file.head]
        for metric, found in (("accuracy", head.figures.accuracy), ("f1", head.figures.macro_f1)):
            results.append(
                EvalResult(
                    task_type="text-classification",
                    dataset_type=name,
                    dataset_name=", ".join(judged) or name,
                    metric_type=metric,
                    metric_value=found.value,
                    metric_name=f"{name} {'macro F1' if metric == 'f1' else metric}",
                )
            )
    front = ModelCardData(
        language="en",
        license=origin.licence.lower(),
        base_model=origin.base,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["finance", "news", "sentiment", "topic"],
        model_name=origin.name,
        eval_results=results,
    )
    return front.to_yaml(line_break="\n").strip()


def _reports(report: Report) -> str:
    parts = []
    for name, head in report.heads.items():
        for title, found in (("all rows", head.figures), ("rows without a near-duplicate in training", head.unseen)):
            if found is not None:
                parts.append(f"{name}, {title} ({found.rows})\n\n{report_text(found)}")
    return "\n".join(parts)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _percent(found: Interval) -> str:
    return f"{_share(found.value)} ({_share(found.low)} to {_share(found.high)})"


def _cell(value: object) -> str:
    """What may stand in a cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").split())


_TEMPLATES: Final = Environment(
    loader=PackageLoader("pipelines.training"),
    autoescape=False,  # noqa: S701  Markdown out of our own figures and file names, not a page for browsers
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters.update(share=_share, percent=_percent, cell=_cell)
