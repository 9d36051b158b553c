"""Commands that measure this machine."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor import logs
from monitor.cli.evaluate import find_model
from monitor.cli.label import texts_of
from monitor.cli.output import AsJson, print_facts, print_json, print_rows
from monitor.errors import ConfigError, Mistake

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
