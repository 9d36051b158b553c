"""The command line: parse, call, print.

Exit codes: 0 done; 1 it could not be done (the text says why); 2 the configuration, the command line, a model or a
labelled file is wrong; 3 another process does this work already; 130 stopped at once by a second signal.
"""

import gc
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor import __version__
from monitor.cli import (
    alerts,
    backtest,
    bench,
    chaos,
    daemon,
    database,
    dead_letters,
    deliveries,
    detect,
    evaluate,
    explain,
    feeds,
    label,
    models,
    read,
    routes,
    silences,
    spikes,
    train,
)
from monitor.cli.output import errors
from monitor.errors import BusyError, ConfigError, DatasetError, InvariantError, ModelError, MonitorError

app = typer.Typer(
    name="monitor",
    help="Watches the news: labels topic and sentiment, stores trends, alerts on negative spikes.",
    epilog="Exit codes: 0 done, 1 could not be done, 2 wrong configuration or usage, 3 already running elsewhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (daemon, read, detect, backtest, label, train, evaluate, explain, chaos):
    module.register(app)
app.add_typer(spikes.app, name="spikes")
app.add_typer(alerts.app, name="alerts")
app.add_typer(silences.app, name="silences")
app.add_typer(routes.app, name="routes")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(feeds.app, name="feeds")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(models.app, name="models")
app.add_typer(database.app, name="database")
app.add_typer(bench.app, name="bench")

# What the extra `training` brings; only the commands that train, judge and explain import it.
_TRAINING = frozenset(
    {"accelerate", "captum", "datasketch", "huggingface_hub", "matplotlib", "peft", "pyarrow", "scipy", "sklearn"}
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"monitor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration file; else $MONITOR_CONFIG, else ./config.toml."),
    ] = None,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    context.obj = config


# A batch makes ten thousands of records that are gone after it. Looked through as seldom as this, garbage is not taken
# for something that stays: else every large batch has all that is in memory looked through, for tenths of seconds.
_GARBAGE = (50_000, 20, 100)


def main() -> None:
    """Runs the command line and turns errors into exit codes."""
    gc.set_threshold(*_GARBAGE)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whatever a headline holds can be printed; and what programs read is UTF-8, as JSON has to be.
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    try:
        app()
    except BaseExceptionGroup as group:
        _fail(_first(group))
    except MonitorError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING:
            raise
        errors.print(
            f"monitor: this command needs {package}; pip install 'news-monitor[training]'", style="red", markup=False
        )
        sys.exit(1)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> None:
    if not isinstance(error, MonitorError):
        raise error
    errors.print(f"monitor: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if isinstance(error, InvariantError):
        raise error
    sys.exit({ConfigError: 2, DatasetError: 2, ModelError: 2, BusyError: 3}.get(type(error), 1))
