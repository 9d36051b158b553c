"""The command that kills what it runs."""

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monitor import logs
from monitor.chaos import archive
from monitor.chaos.outcome import Compared
from monitor.chaos.servers import servers
from monitor.chaos.trial import Copies, Trial, by_copies, trial
from monitor.cli.output import AsJson, console, errors, print_facts, print_json, print_rows
from monitor.errors import ConfigError, Mistake

_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="An archive, .jsonl or .jsonl.gz; default: invented news."),
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Only the first items of it.")] = None,
    kills: Annotated[int, typer.Option(min=1, help="Processes to kill.")] = 20,
    seed: Annotated[int, typer.Option(help="Which ones, and when.")] = 7,
    stages: Annotated[int, typer.Option(min=1, max=8, help="Copies of classify and of aggregate.")] = 2,
    copies: Annotated[
        str | None, typer.Option(help="Kill nothing: compare runs with so many copies each, 1,2,4 say.")
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The embedded bus and SQLite, and all stages in one process.")
    ] = False,
    kafka: Annotated[str | None, typer.Option(help="host:port of a cluster; default: a broker of its own.")] = None,
    postgres: Annotated[
        str | None, typer.Option(help="URL of a server to make databases on; default: one of its own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Kill stages at random while an archive is played, and compare what they leave with an undisturbed run."""
    counts = _counts(copies, embedded=embedded)
    logs.configure("WARNING")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is taken away again
    with tempfile.TemporaryDirectory(prefix="monitor-chaos-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        played = folder / "archive.jsonl"
        count = archive.write(played, file, items)
        if embedded:
            _tell_trial(trial(folder, played, count, None, copies=0, kills=kills, seed=seed, say=_say), as_json)
        with servers(folder, kafka, postgres) as running:
            if counts:
                _tell_copies(by_copies(folder, played, running, counts, _say), as_json)
            _tell_trial(trial(folder, played, count, running, copies=stages, kills=kills, seed=seed, say=_say), as_json)


def _counts(copies: str | None, *, embedded: bool) -> list[int]:
    if copies is None:
        return []
    if embedded:
        raise ConfigError("command line", [Mistake("--copies", "the embedded bus has one reader per stage")])
    parts = copies.split(",")
    if not all(part.strip().isdigit() and 1 <= int(part) <= 8 for part in parts):
        raise ConfigError("command line", [Mistake("--copies", "expected numbers from 1 to 8, such as 1,2,4")])
    return [int(part) for part in parts]


def _say(text: str) -> None:
    errors.print(text, markup=False, highlight=False)


def _tell_trial(found: Trial, as_json: bool) -> None:
    if as_json:
        print_json({**found._asdict(), "equal": found.equal, "compared": [_plain(parts) for parts in found.compared]})
        raise typer.Exit(0 if found.equal else 1)
    for number, parts in enumerate(found.compared, start=1):
        _print_parts(f"Round {number} beside the undisturbed run", parts)
    facts = {name: value for name, value in found._asdict().items() if name not in ("compared", "killed", "hashes")}
    killed = ", ".join(f"{name} {times}" for name, times in found.killed.items())
    print_facts("Chaos", {**facts, "killed": killed, "hashes": " ".join(found.hashes), "equal": found.equal})
    raise typer.Exit(0 if found.equal else 1)


def _tell_copies(found: Sequence[Copies], as_json: bool) -> None:
    equal = all(part.equal for run in found for part in run.compared)
    if as_json:
        print_json([{**run._asdict(), "compared": _plain(run.compared)} for run in found])
        raise typer.Exit(0 if equal else 1)
    for run in found[1:]:
        _print_parts(f"{run.copies} copies beside {found[0].copies}", run.compared)
    columns = ("copies", "articles", "articles_per_s", "took_s", "hash")
    print_rows(
        "Copies of classify and of aggregate", columns, [[run._asdict()[name] for name in columns] for run in found]
    )
    print_facts("Copies", {"equal": equal})
    raise typer.Exit(0 if equal else 1)


def _plain(parts: Sequence[Compared]) -> list[dict[str, object]]:
    return [{**part._asdict(), "equal": part.equal} for part in parts]


def _print_parts(title: str, parts: Sequence[Compared]) -> None:
    print_rows(
        title,
        ("part", "rows", "missing", "added", "expected", "found"),
        [(part.part, part.rows, len(part.missing), len(part.added), part.expected, part.found) for part in parts],
    )
    for part in parts:
        for sign, rows in (("-", part.missing), ("+", part.added)):
            for row in rows[:_SHOWN]:
                console.print(f"{sign} {part.part}: {row}", markup=False, highlight=False, soft_wrap=True)
