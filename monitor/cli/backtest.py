"""The command that plays the past under a configuration and reports what it would have told."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monitor import app as application
from monitor import logs
from monitor.backtest import archive, episodes, report, stored
from monitor.backtest.facts import Played, keys_that_fired
from monitor.backtest.run import Archives, Tables, backtest
from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, console, errors, moment, print_facts, print_json, print_rows
from monitor.clock import SystemClock
from monitor.domain.windows import Key
from monitor.errors import ConfigError, Mistake
from monitor.settings import Settings, load
from monitor.storage.database import Database


def register(app: typer.Typer) -> None:
    app.command(name="backtest")(backtest_command)


def backtest_command(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Archives, .jsonl or .jsonl.gz, in the order of their time.")
    ] = None,
    from_tables: Annotated[
        bool, typer.Option("--stored", help="Play the articles of the configured database, with their labels.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="With --stored: taken in from then on.")] = None,
    until: Annotated[str | None, typer.Option(help="With --stored: taken in before then.")] = None,
    relabel: Annotated[bool, typer.Option("--relabel", help="With --stored: label the articles anew.")] = False,
    labelled_episodes: Annotated[
        Path | None,
        typer.Option("--episodes", help="CSV of episodes to judge by: name, start, end, and key, match, severity."),
    ] = None,
    diff: Annotated[
        Path | None, typer.Option(help="Another configuration: list the alerts it would gain and lose.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report here: one page that fetches nothing.")] = None,
    png: Annotated[Path | None, typer.Option(help="Folder for one picture of each key that alerted.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play the past through the daemon's own stages, at full speed, and report what they would have told.

    The configured database, bus and channels are left alone.
    """
    settings = load_settings(context)
    logs.configure("ERROR")  # each spike is a warning to the log of a daemon; here it is in the report
    _require_one_past(
        files, from_tables=from_tables, only_stored={"--since": since, "--until": until, "--relabel": relabel}
    )
    expected = episodes.read(labelled_episodes) if labelled_episodes else None
    if diff is not None and not diff.is_file():
        raise ConfigError("command line", [Mistake("--diff", f"expected a configuration file; {diff} is none")])
    against = load(diff) if diff else None
    _require_places(html, png)
    if html is not None or png is not None:
        from monitor.backtest import pictures  # noqa: F401  # what draws is missing in some installations: say so now
    survey = archive.survey(files) if files else None
    now = SystemClock().now()
    span = stored.Span(moment("--since", since, now), moment("--until", until, now))
    past = Archives(files) if files else Tables(application.database_url(settings), span, relabel)
    played, other = _play(settings, past, against, survey.items if survey else None)

    verdict = episodes.judge(played, expected) if expected is not None else None
    change = (diff.name, report.compare(played.alarms, other.alarms)) if diff and other else None
    found = report.document(_named(files, span, relabel=relabel), played, survey, verdict, change)
    unwritten = _write(played, found, html, png)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if unwritten:
        raise ConfigError("command line", unwritten)


def _require_one_past(files: list[Path] | None, *, from_tables: bool, only_stored: dict[str, object]) -> None:
    """Raises: ConfigError"""
    if bool(files) == from_tables:
        raise ConfigError("command line", [Mistake("FILES", "expected archives, or --stored; one of them")])
    beside = [option for option, value in only_stored.items() if value]
    if files and beside:
        raise ConfigError("command line", [Mistake(option, "goes with --stored only") for option in beside])


def _require_places(html: Path | None, png: Path | None) -> None:
    """What can be known of the files to write, now and not after an hour's work. Raises: ConfigError"""
    mistakes = []
    for option, place, wrong_with in (("--html", html, _wrong_file), ("--png", png, _wrong_folder)):
        try:
            wrong = wrong_with(place) if place is not None else None
        except OSError as error:  # a folder on the way that may not be looked into, or a name that is too long
            wrong = f"{place} cannot be written: {error.strerror or error}; name another place"
        if wrong:
            mistakes.append(Mistake(option, wrong))
    if mistakes:
        raise ConfigError("command line", mistakes)


def _wrong_file(file: Path) -> str | None:
    if file.is_dir():
        return f"expected a file to write; {file} is a folder"
    if file.exists():
        return None if os.access(file, os.W_OK) else f"{file} cannot be written; name another file, or make it writable"
    if not file.parent.is_dir():
        return f"no such folder: {file.parent}; make it first"
    return _closed(file.parent)


def _wrong_folder(folder: Path) -> str | None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return _closed(there) if there.is_dir() else f"expected a folder; {there} is a file"


def _closed(folder: Path) -> str | None:
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    return f"nothing can be written to {folder}; name another folder, or make it writable"


def _named(files: list[Path] | None, span: stored.Span, *, relabel: bool) -> str:
    """The past in words: the same wherever the files lie."""
    if files:
        return ", ".join(file.name for file in files)
    told = "stored articles" + (", labelled anew" if relabel else "")
    bounds: list[tuple[str, datetime | None]] = [("from", span.since), ("before", span.until)]
    return told + "".join(f", taken in {word} {at:%Y-%m-%d %H:%M} UTC" for word, at in bounds if at is not None)


def _play(
    settings: Settings, past: Archives | Tables, against: Settings | None, items: int | None
) -> tuple[Played, Played | None]:
    """Raises: typer.Exit, if it was interrupted: half a past is none."""
    interrupted: list[str] = []

    async def go() -> tuple[Played, Played | None]:
        stop = asyncio.Event()

        def interrupt(name: str) -> None:
            if interrupted:
                os._exit(130)
            interrupted.append(name)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number.name)
        total = items if isinstance(past, Archives) else await _count(settings, past)
        with _bars(total, two=against is not None) as (first, second):
            return await backtest(settings, past, stop=stop, progress=first, against=against, again=second)

    found = asyncio.run(go())
    if interrupted:
        errors.print("monitor: interrupted; half a past says nothing, so nothing is reported", style="red")
        raise typer.Exit(1)
    return found


async def _count(settings: Settings, past: Tables) -> int:
    async with application.open_store(settings):  # makes the tables where there are none, as all readers do
        database = await Database.open(past.url)
        try:
            count = await stored.count(database, past.span)
        finally:
            await database.aclose()
    if not count:
        raise ConfigError(
            "command line", [Mistake("--stored", "expected stored articles of that time; there are none")]
        )
    return count


@contextmanager
def _bars(total: int | None, *, two: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        tasks = [bar.add_task(name, total=total) for name in (("backtest", "the other") if two else ("backtest",))]
        yield lambda n: bar.advance(tasks[0], n), lambda n: bar.advance(tasks[-1], n)


def _write(played: Played, found: dict[str, Any], html: Path | None, png: Path | None) -> list[Mistake]:
    """What could not be written."""
    if html is None and png is None:
        return []
    from monitor.backtest import pictures

    keys = keys_that_fired(played.alarms)
    drawn: dict[Key, bytes] = {key: pictures.draw(played, key) for key in keys}
    mistakes = []
    if png is not None:
        try:
            png.mkdir(parents=True, exist_ok=True)
            for key, picture in drawn.items():
                (png / pictures.file_name(key)).write_bytes(picture)
        except OSError as error:
            mistakes.append(_unwritten("--png", png, error))
    if html is not None:
        try:
            html.write_text(report.page(found, {str(key): picture for key, picture in drawn.items()}), encoding="utf-8")
        except OSError as error:
            mistakes.append(_unwritten("--html", html, error))
    return mistakes


def _unwritten(option: str, path: Path, error: OSError) -> Mistake:
    return Mistake(option, f"{path} could not be written: {error.strerror or error}; name another place and run again")


def _print(found: dict[str, Any]) -> None:
    facts = (
        "past", "from", "to", "days", "articles", "labelled", "unreadable_lines", "first_unreadable",
        "alerts", "alerts_per_day", "messages", "messages_per_day", "detector",
    )  # fmt: skip
    shown: dict[str, object] = {name.replace("_", " "): found[name] for name in facts if found[name] not in (None, 0)}
    shown |= {f"alerts, {name}": count for name, count in found["by_severity"].items()}
    shown |= {f"alerts on {name}": count for name, count in found["by_kind"].items()}
    print_facts("Backtest", {"alerts": 0, **shown})
    _print_alarms("Alerts", found["fired"])
    if "judged" in found:
        _print_judged(found["judged"])
    if "diff" in found:
        diff = found["diff"]
        console.print(f"with {diff['against']} {diff['kept']} alerts stay", markup=False, highlight=False)
        _print_alarms("Gained", diff["gained"])
        _print_alarms("Lost", diff["lost"])


def _print_alarms(title: str, rows: list[dict[str, Any]]) -> None:
    print_rows(
        title,
        ("time (UTC)", "severity", "seen", "expected", "score", "told", "key", "first stories"),
        (
            (
                f"{row['at']:%Y-%m-%d %H:%M}",
                row["severity"],
                f"{row['observed']}/{row['total']}",
                report.few(row["expected"]),
                f"{row['score']:.1f}",
                row["why_not"] is None,
                row["key"],
                "; ".join(story["title"] for story in row["stories"]),
            )
            for row in rows
        ),
    )


def _print_judged(judged: dict[str, Any]) -> None:
    print_rows(
        "Against the episodes, with 95 % intervals",
        ("severity", "precision", "recall", "median delay"),
        (
            (name, report.percent(f["precision"]), report.percent(f["recall"]), report.delay(f["delay"]))
            for name, f in {"all": judged["overall"], **judged["by_severity"]}.items()
        ),
    )
    print_rows(
        "Episodes; delays in minutes",
        ("start (UTC)", "stories", "alerts", "first alert", "delay", "after 3rd", "after 4th", "episode"),
        (
            (
                report.minute(episode["start"]),
                episode["stories"],
                episode["alerts"] if episode["in_span"] else "not played",
                report.minute(episode["first_at"]),
                *(_minutes(episode[name]) for name in ("delay_min", "after_third_min", "after_fourth_min")),
                episode["name"],
            )
            for episode in judged["episodes"]
        ),
    )


def _minutes(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
