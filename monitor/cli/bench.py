"""Commands that measure this machine."""

import itertools
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor import logs, settings
from monitor.cli.context import settings as load_settings
from monitor.cli.evaluate import find_model
from monitor.cli.label import texts_of
from monitor.cli.output import AsJson, print_facts, print_json, print_rows
from monitor.errors import ConfigError, Mistake
from monitor.plugins import load

app = typer.Typer(help="Measure this machine, beside what one would use instead.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure this machine, beside what one would use instead."""


@app.command()
def classify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="One text a line, or .jsonl with title and summary; may be .gz.")],
    limit: Annotated[int, typer.Option(min=1, help="Texts to read of it.")] = 3_000,
    model: Annotated[str | None, typer.Option(help="A model folder or version; default: the current one.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option()] = "auto",
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16", "int8"], typer.Option()] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="0: all cores but one.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Documents per second, padding, queue waits; beside the same weights in a plain pipeline, in the same run."""
    logs.configure("INFO")
    texts = list(itertools.islice(texts_of(file), limit))
    if not texts:
        raise ConfigError("command line", [Mistake("FILE", f"expected texts; {file} holds none")])
    place = Path(find_model(context, model))

    from monitor.bench.classify import measure

    found = measure(place, texts, device=device, precision=precision, threads=threads)
    if as_json:
        print_json(found)
        return
    rates: dict[str, dict[str, Any]] = found.pop("rates")
    print_rows(
        "Documents per second",
        ("way", "texts", "documents/s", "times slower"),
        ((name, r["texts"], r["documents_per_s"], r["times_slower_than_monitor"]) for name, r in rates.items()),
    )
    nested = {
        f"{name}: {part}": value
        for name, facts in found.items()
        if isinstance(facts, dict)
        for part, value in facts.items()
    }
    print_facts("This run", {**{name: value for name, value in found.items() if not isinstance(value, dict)}, **nested})


@app.command()
def pipeline(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Archives, .jsonl or .jsonl.gz; default: the items of the demo.")
    ] = None,
    articles: Annotated[int, typer.Option(min=100, help="Articles to send; items repeat under new ids.")] = 20_000,
    processes: Annotated[
        bool, typer.Option("--processes", help="Each stage in a process of its own; default: all in this one.")
    ] = False,
    configured: Annotated[
        bool, typer.Option("--configured", help="Use the bus and the database of config.toml; both must be empty.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Articles per second from the bus into the trend tables, with the quick classifier, and where the time goes."""
    given = load_settings(context) if configured else settings.of({})
    logs.configure("WARNING")

    from monitor.bench.pipeline import measure

    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as folder:
        place = {"data_dir": Path(folder), "classifier": load("pipelines.classify.models", "lexicon").Config()}
        found = measure(given.model_copy(update=place), files or [], articles, processes=processes)
    if as_json:
        print_json(found)
        return
    parts: dict[str, dict[str, float]] = found.pop("parts")
    print_rows(
        "Microseconds per article, one stage after the other; before the run, and after it",
        ("part", "CPU before", "CPU after", "share", "wall before", "wall after"),
        (
            (name, p["cpu_us_empty"], p["cpu_us"], f"{p['share']:.0%}", p["wall_us_empty"], p["wall_us"])
            for name, p in parts.items()
        ),
    )
    tenths = " ".join(f"{rate:.0f}" for rate in found.pop("tenths_per_s"))
    print_facts("This run", {**found, "articles/s in each tenth": tenths})
