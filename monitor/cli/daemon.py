"""Commands that run something: the daemon, a replay, the demo; and the one that looks at it."""

import asyncio
import gzip
import os
import shutil
import signal
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from monitor import app as application
from monitor import logs
from monitor.bus.streams import Group
from monitor.cli.context import settings as load_settings
from monitor.cli.output import (
    AsJson,
    console,
    errors,
    json_alone,
    print_facts,
    print_json,
    print_rows,
    sentiment,
)
from monitor.clock import SystemClock
from monitor.demo.run import run_demo
from monitor.errors import ConfigError, Mistake
from monitor.replay import Report
from monitor.replay import replay as play
from monitor.settings import Settings, find_config, load

_STALE_BEATS = 3


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(demo)
    app.command()(replay)
    app.command()(status)


def run(
    context: typer.Context,
    stages: Annotated[
        list[str] | None,
        typer.Argument(help=f"Some of: {', '.join(application.RUNNABLE)}. Default: all, web if web.enabled."),
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second signal stops it at once. SIGHUP reads [alerts] again."""
    unknown = sorted(set(stages or ()) - set(application.RUNNABLE))
    if unknown:
        expected = f"unknown: {', '.join(unknown)}; expected some of: {', '.join(application.RUNNABLE)}"
        raise ConfigError("command line", [Mistake("STAGE", expected)])
    settings = load_settings(context, quiet=False)
    wanted = stages or [*application.STAGES, *(["web"] if settings.web.enabled else [])]
    chosen = [stage for stage in application.RUNNABLE if stage in wanted]
    asyncio.run(application.run_daemon(settings, chosen, lambda: load(find_config(context.obj))))


def demo(
    calm: Annotated[
        bool, typer.Option("--calm", help="Publish the same day without the burst: no alert must come.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole chain on loopback: feeds, labels, trends, one e-mail and one signed webhook."""
    logs.configure("ERROR")
    report = asyncio.run(run_demo(calm=calm, say=lambda text: errors.print(text, markup=False, highlight=False)))
    if as_json:
        print_json({**report._asdict(), "as_expected": report.as_expected})
    else:
        print_rows(
            "Latest headlines, labelled",
            ("sentiment", "topic", "title"),
            ((sentiment(feeling), topic, title) for title, feeling, topic in report.headlines),
        )
        if report.mail:
            console.print(Panel(Text(report.mail), title="The mail", title_align="left"))
        print_facts("Demo", report.facts())
    raise typer.Exit(0 if report.as_expected else 1)


def replay(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Archives, .jsonl or .jsonl.gz, in the order of their time.")],
    speed: Annotated[str, typer.Option(help="How many times real time, or max.")] = "max",
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Also send the alerts, through the configured channels.")
    ] = False,
    spread: Annotated[
        bool, typer.Option("--spread", help="Leave the work of classify and aggregate to processes of their own.")
    ] = False,
    ahead: Annotated[int, typer.Option(min=1, help="Items handed to these at once, with --spread.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Play archives through the same stages as the daemon's, on their own clock, into the tables of data_dir."""
    settings = load_settings(context)
    factor = _speed(speed)
    if settings.bus.kind != "embedded" and not spread:
        expected = (
            "a replay plays on a log of its own, not among running stages; set MONITOR_BUS__KIND=embedded for it,"
            " or give --spread, with an empty database and a topic_prefix of its own"
        )
        raise ConfigError("config.toml", [Mistake("bus.kind", expected)])
    if spread:
        application.require_shared_database(settings)
    total = _count_lines(files)

    interrupted: list[str] = []

    async def go() -> Report:
        stop = asyncio.Event()

        def interrupt(name: str) -> None:
            if interrupted:
                os._exit(130)  # nothing is lost by it: what was not committed comes again
            interrupted.append(name)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number.name)
        with Progress(
            TextColumn("replay"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
        ) as bar:
            task = bar.add_task("replay", total=total)
            return await play(
                settings,
                files,
                speed=factor,
                deliver=deliver,
                stop=stop,
                ahead=ahead if spread else None,
                progress=lambda n: bar.advance(task, n),
            )

    with json_alone(as_json):
        report = asyncio.run(go())
    facts = {
        **report._asdict(),
        "per_s": report.read / report.took_s if report.took_s else 0.0,
        "accounted": report.accounted,
        "interrupted": bool(interrupted),
    }
    if as_json:
        print_json(facts)
    else:
        print_facts("Replay", facts)
    raise typer.Exit(0 if report.accounted and not interrupted else 1)


def _speed(given: str) -> float | None:
    if given == "max":
        return None
    try:
        factor = float(given)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e6:
        raise ConfigError("command line", [Mistake("--speed", "expected a number above 0, or max")])
    return factor


def _count_lines(files: list[Path]) -> int | None:
    """For the progress bar only: None where it cannot be told."""
    try:
        return sum(_lines(file) for file in files)
    except (OSError, EOFError, zlib.error):
        return None  # the replay itself tells what is wrong, once it comes to that file


def _lines(file: Path) -> int:
    if not file.is_file():  # what a pipe has told once, it does not tell again
        raise FileNotFoundError(file)
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how each part of the daemon fares, what waits on the bus, and what is stored."""
    settings = load_settings(context)
    found = asyncio.run(_status(settings))
    if as_json:
        print_json(found)
        return
    console.print(f"data folder {settings.data_dir}, {found['free_disk_mb']} MB free", markup=False, highlight=False)
    columns = ("component", "state", "since", "process", "detail")
    print_rows("Components", columns, [[part[name] for name in columns] for part in found["components"]])
    print_facts("Messages waiting", found["lag"])
    print_facts("Stored", found["stored"])
    if not found["components"]:
        console.print("The daemon has not reported from this data folder; start it with: monitor run")


async def _status(settings: Settings) -> dict[str, Any]:
    async with application.open_core(settings, SystemClock()) as core:
        now = core.clock.now()
        stale_after_s = _STALE_BEATS * settings.daemon.heartbeat_s
        parts = []
        for part in await core.store.health.all():
            silent_s = (now - part.heartbeat_at).total_seconds()
            silent = part.state != "stopped" and silent_s > stale_after_s
            parts.append(
                {
                    "component": part.name,
                    "state": "silent" if silent else part.state,
                    "detail": f"no heartbeat for {silent_s:.0f} s" if silent else part.detail,
                    "since": part.since,
                    "heartbeat": part.heartbeat_at,
                    "process": part.process,
                }
            )
        feeds = (await core.store.feeds.all()).values()
        first = await core.store.sightings.first_fetched_at()
        ready_at = None if first is None else first + timedelta(days=settings.detector.warmup_days)
        return {
            "components": parts,
            "lag": {str(group): await core.bus.lag(group) for group in Group},
            "stored": {
                **await core.store.articles.totals(),
                "dead letters": await core.store.dead_letters.count(),
                "feeds failing": sum(1 for feed in feeds if feed.failures),
                "feeds parked": sum(1 for feed in feeds if feed.parked),
                "spikes are stated from": ready_at,
            },
            "free_disk_mb": shutil.disk_usage(settings.data_dir).free // 1_000_000,
        }
