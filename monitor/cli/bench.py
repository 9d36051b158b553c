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
from monitor.cli.output import AsJson, errors, print_facts, print_json, print_rows
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


_FIGURES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "strong_recall": "strong",
    "false_per_key_week": "false",
    "volume_decoys_alerted": "volume",
    "syndicated_decoys_alerted": "copies",
    "delay_median_min": "delay",
    "delay_p90_min": "p90",
    "after_fourth_median_min": "after 4th",
    "after_fourth_p90_min": "p90",
}


@app.command()
def detect(
    archive: Annotated[
        Path | None,
        typer.Argument(
            help="Arrivals: .jsonl, or .csv with time_us_eastern and title; may be .gz. Default: made-up ones."
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Such as 100-104 or 1,7; the settings were chosen on some of 0-19.")
    ] = "0-4",
    stories: Annotated[
        Literal["product", "title"],
        typer.Option(help="What makes articles one story: the service's way, or the title."),
    ] = "product",
    tune: Annotated[
        str, typer.Option(help="Seeds to choose the settings of the others on; default: as chosen on Reuters, 0-4.")
    ] = "",
    articles: Annotated[
        int, typer.Option(min=0, help="Articles in the database beside which ticks are timed; 0: none are.")
    ] = 200_000,
    database: Annotated[
        str | None, typer.Option(help="URL of that database, which must be empty; default: SQLite, in a new folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The spike detector on bursts put into real arrivals, beside what one would use instead; and what it costs."""
    logs.configure("INFO")
    drawn, tuned_on = _seeds("--seeds", seeds), _seeds("--tune", tune) if tune else ()

    from monitor.bench.archive import load as load_archive
    from monitor.bench.archive import made_up
    from monitor.bench.detect import measure
    from monitor.bench.rivals import has_river

    loaded = load_archive(archive) if archive else made_up()
    ticks = _ticks(articles, database) if articles else None
    found = measure(loaded, drawn, stories=stories, tune=tuned_on)
    if ticks is not None:
        found["ticks"] = ticks
    if not has_river():
        errors.print("river is not installed, so its detectors are left out; pip install 'news-monitor[bench]'")
    if as_json:
        print_json(found)
        return
    rates: dict[str, dict[str, Any]] = found.pop("found")
    title = (
        "Bursts found; false: alerts per key and week; volume, copies: shares of these decoys alerted; delays in min"
    )
    print_rows(
        title,
        ("way", "setting", *_FIGURES.values()),
        ((name, figures["setting"], *(_figure(figures[part]) for part in _FIGURES)) for name, figures in rates.items()),
    )
    ours = rates["monitor"]
    print_rows(
        "The detector: all seeds, where 95 % of such figures lie, and each seed",
        ("", *_FIGURES.values()),
        (
            ("all", *(_figure(ours[part]) for part in _FIGURES)),
            *(
                (name, *(_figure(ours["intervals"].get(part, (None, None))[side]) for part in _FIGURES))
                for side, name in enumerate(("from", "to"))
            ),
            *((str(of["seed"]), *(_figure(of[part]) for part in _FIGURES)) for of in found.pop("per_seed")),
        ),
    )
    print_rows(
        "By strength, shape and density",
        ("part", "bursts", "in reach", "recall", "delay", "volume", "false"),
        (
            (
                f"{way}: {part}",
                facts["bursts"],
                *(_figure(facts[name]) for name in ("in_reach", "recall", "delay_median_min", "volume_decoys_alerted")),
                _figure(facts.get("false_per_key_week")),
            )
            for way, parts in found.pop("by").items()
            for part, facts in parts.items()
        ),
    )
    print_rows(
        "Alerts where nothing was put in",
        ("trap", "key-weeks", "alerts without", "alerts"),
        (
            (name, facts["key_weeks"], facts["without"], facts["alerts"])
            for name, facts in {
                "none: quiet weeks": {**found["quiet"], "without": found["quiet"]["alerts"]},
                **found.pop("traps"),
            }.items()
        ),
    )
    costs = {
        f"{size} keys: {name}": value for size, facts in found.pop("costs").items() for name, value in facts.items()
    }
    told_as = {
        f"{name}, told as stories": f"{of['items']} items, {of['stories']} stories, truly {of['truly']}"
        for name, of in found.pop("told_as").items()
    }
    reached = {
        "4th negative story exists after, median min": ours["fourth_story_median_min"],
        "bursts ever in reach": ours["in_reach"],
    }
    if ticks is not None:
        _print_ticks(found.pop("ticks"))
    quiet = found.pop("quiet")["alerts_per_key_week"]
    print_facts("This run", {**found, **reached, "quiet: alerts per key-week": _figure(quiet), **told_as, **costs})


def _ticks(articles: int, database: str | None) -> dict[str, Any]:
    """Raises: ConfigError, if the database is not empty; StoreError."""
    from monitor.bench.tick import measure

    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as folder:
        given: dict[str, Any] = (
            {"data_dir": folder, "database": {"url": database}} if database else {"data_dir": folder}
        )
        return measure(settings.of(given), articles=articles)


def _print_ticks(ticks: dict[str, Any]) -> None:
    print_rows(
        f"Whole ticks for {ticks['keys']} keys beside {ticks['articles']} articles, {ticks['database']}; seconds",
        ("load", "articles", "median", "worst", "CPU", "of which"),
        (
            (
                name,
                load["articles"],
                *(round(load[figure], 3) for figure in ("median_s", "worst_s", "median_cpu_s")),
                ", ".join(f"{part} {took:.3f}" for part, took in load["parts"].items()),
            )
            for name, load in ticks["loads"].items()
        ),
    )


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def _seeds(option: str, text: str) -> list[int]:
    """Raises: ConfigError, naming the option."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise ConfigError("command line", [Mistake(option, f"expected seeds such as 0-4 or 1,7; got {text!r}")])
        found += range(int(first), int(last or first) + 1)
    return found
