"""The command line: parse, call, print.

Exit codes: 0 done; 1 it could not be done (the text says why); 2 the configuration, the command line, a model or a
labelled file is wrong; 3 another process does this work already; 130 stopped at once by a second signal.
"""

import errno
import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from monitor import __version__
from monitor.cli import (
    alerts,
    backtest,
    bench,
    chaos,
    check,
    daemon,
    database,
    dead_letters,
    deliveries,
    detect,
    digests,
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
for module in (daemon, check, read, detect, backtest, label, train, evaluate, explain, chaos):
    module.register(app)
app.add_typer(spikes.app, name="spikes")
app.add_typer(alerts.app, name="alerts")
app.add_typer(silences.app, name="silences")
app.add_typer(routes.app, name="routes")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(digests.app, name="digests")
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
    with _output_told_of():
        _run()


def _run() -> None:
    try:
        app(prog_name="monitor")
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


@contextmanager
def _output_told_of() -> Iterator[None]:
    """One line, and exit code 1, where standard output takes no more; none where its reader has gone."""
    try:
        try:
            yield
        finally:
            _flush()
    except OSError as error:
        if not _is_of_output(error):
            raise
        with Path(os.devnull).open("wb") as nowhere:  # what is left over is not tried once more at the very end
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            _say(f"standard output: {error.strerror}")
        sys.exit(1)


def _is_of_output(error: OSError) -> bool:
    try:
        _flush()  # it still holds what could not be written, and fails again
    except OSError:
        return True
    # Without a buffer it holds nothing. Errors of files have a name, but for those that a full disk gives to a write.
    unbuffered = isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.write_through
    return unbuffered and error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> None:
    if not isinstance(error, MonitorError):
        raise error
    _say(str(error))
    if isinstance(error, InvariantError):
        raise error
    sys.exit({ConfigError: 2, DatasetError: 2, ModelError: 2, BusyError: 3}.get(type(error), 1))


def _say(text: str) -> None:
    errors.print(f"monitor: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
