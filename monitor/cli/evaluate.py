"""The command that judges a model on labelled texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import logs
from monitor.cli.context import is_configured
from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, console, print_json, print_rows
from monitor.clock import SystemClock
from monitor.errors import ConfigError, DatasetError, Mistake, ModelError
from pipelines.classify.registry import SHIPPED, Registry
from pipelines.training.files import form
from pipelines.training.rows import Labels, Row, read

if TYPE_CHECKING:
    from pipelines.training.evaluate import HeadReport, Report
    from pipelines.training.metrics import Figures, Interval

Renamed = Annotated[
    list[str] | None,
    typer.Option("--map", help="What a label of the model means, such as LABEL_0=negative; once for each."),
]

LabelledFiles = Annotated[
    list[str] | None, typer.Argument(help="Labelled texts: columns text, and topic or sentiment or both.")
]
TopicFiles = Annotated[list[str] | None, typer.Option(help="Texts with topics, in a column topic or label.")]
SentimentFiles = Annotated[
    list[str] | None, typer.Option(help="Texts with sentiments, in a column sentiment or label.")
]
LabelNames = Annotated[Path | None, typer.Option(help="JSON file that names labels given as numbers.")]


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model folder, a version in the list of models, or OWNER/NAME; default: the current version."
        ),
    ] = None,
    files: LabelledFiles = None,
    topic: TopicFiles = None,
    sentiment: SentimentFiles = None,
    labels: LabelNames = None,
    training: Annotated[
        list[str] | None,
        typer.Option(help="What the model was trained on: texts alike are left out of a second set of figures."),
    ] = None,
    renamed: Renamed = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json, a report and pictures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a model: is it right, does it know when it is not, does it mind how a text is typed?"""
    logs.configure("WARNING")
    both = list(files or ())
    if model is not None and _is_file(model):
        both, model = [model, *both], None
    if not (both or topic or sentiment):
        raise ConfigError("command line", [Mistake("FILES", "expected labelled texts: FILES, --topic or --sentiment")])
    meanings = mapping(renamed)
    names = Labels.read(labels)
    rows = [
        *(row for file in both for row in read(file, names)),
        *(row for file in topic or () for row in read(file, names, only="topic")),
        *(row for file in sentiment or () for row in read(file, names, only="sentiment")),
    ]
    seen = [row.text for file in training or () for row in _training_rows(file, names)] if training else None
    place = find_model(context, model)

    from pipelines.classify.models._network import Network
    from pipelines.training.card import write
    from pipelines.training.evaluate import evaluate as judge

    report = judge(Network.load(place, labels=meanings), rows, seen)
    if output is not None:
        try:
            write(output, report)
        except OSError as error:
            expected = f"a folder that can be written: {error.strerror or error}"
            raise ConfigError("command line", [Mistake("--output", expected)]) from error
    if as_json:
        print_json(report.document())
    else:
        _print(report)


def find_model(context: typer.Context, given: str | None) -> Path | str:
    """Where a model lies: a folder, a version in the registry, or OWNER/NAME at Hugging Face; None is the current one.

    Without any configuration the current one is the shipped one.

    Raises: ModelError, naming the versions there are; ConfigError if the settings are needed and cannot be read.
    """
    if given is not None:
        path = Path(given)
        if path.is_dir():
            return path
        if given.count("/") == 1 and not given.startswith((".", "/", "~")) and not path.parent.is_dir():
            return given
        if path.name != given:
            raise ModelError(f"{given}: no such folder")
    elif not is_configured(context) and SHIPPED.is_dir():
        return SHIPPED
    registry = Registry(load_settings(context).models.folder, SystemClock())
    return registry.open(registry.current() if given is None else given)


def mapping(given: list[str] | None) -> dict[str, str]:
    """What the model's labels mean. Raises: ConfigError."""
    pairs = [pair.rpartition("=") for pair in given or ()]
    if not all(theirs and ours for theirs, _, ours in pairs):
        raise ConfigError("command line", [Mistake("--map", "expected LABEL=MEANING, such as LABEL_0=negative")])
    return {theirs: ours for theirs, _, ours in pairs}


def _is_file(given: str) -> bool:
    return form(given) is not None and not Path(given).is_dir()


def _training_rows(file: str, names: Labels) -> list[Row]:
    """The rows of a training file, whichever head its column `label` is of: only the texts are wanted."""
    for only in (None, "topic", "sentiment"):
        try:
            return read(file, names, only=only)
        except DatasetError as error:
            last = error
    raise last


def _print(report: "Report") -> None:
    for name, head in report.heads.items():
        _print_figures(name, head, report)
        print_rows(
            f"{name}: labels, in per cent",
            ("precision", "recall", "F1", "rows", "label"),
            (
                (_share(found.precision), _share(found.recall), _share(found.f1), found.support, found.label)
                for found in head.figures.classes
            ),
        )
        print_rows(
            f"{name}: accuracy where the least certain texts are left out",
            ("answered %", "accuracy %", "texts", "confidence from"),
            (
                (f"{100 * kept.coverage:.0f}", _share(kept.accuracy), kept.rows, f"{kept.threshold:.3f}")
                for kept in head.figures.abstention
            ),
        )
        print_rows(
            f"{name}: answers that flip when a text is written otherwise",
            ("flipped %", "from", "to", "texts", "change"),
            ((*_interval(flips.flipped), flips.texts, flips.change) for flips in head.invariance),
        )


def _print_figures(name: str, head: "HeadReport", report: "Report") -> None:
    sets = {"all": head.figures, "unseen": head.unseen} if report.training_texts is not None else {"all": head.figures}
    print_rows(
        f"{name}: {report.version}, in per cent, with 95 % intervals",
        ("figure", "value", "from", "to", "rows", "texts"),
        (line for title, found in sets.items() if found is not None for line in _lines(title, found)),
    )
    if report.training_texts is not None and head.unseen is None:
        console.print(f"{name}: every text has a near-duplicate among the training texts")


def _lines(title: str, found: "Figures") -> list[tuple[object, ...]]:
    named = {
        "accuracy": found.accuracy,
        "macro F1": found.macro_f1,
        "weighted F1": found.weighted_f1,
        "ECE": found.ece,
    }
    return [
        *((figure, *_interval(value), found.rows, title) for figure, value in named.items()),
        ("NLL (nats)", f"{found.nll:.3f}", None, None, found.rows, title),
    ]


def _interval(found: "Interval") -> tuple[str, str, str]:
    return _share(found.value), _share(found.low), _share(found.high)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
