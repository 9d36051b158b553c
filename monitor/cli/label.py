"""The command that labels texts."""

import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor import app as application
from monitor.cli.context import settings as load_settings
from monitor.cli.files import opened
from monitor.cli.output import print_facts
from monitor.domain.labels import Label
from monitor.errors import ConfigError, FetchError, Mistake, Reason

_BATCH = 1000


def register(app: typer.Typer) -> None:
    app.command()(label)


def label(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="One text.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="One text a line, or .jsonl with title and summary; - is standard input."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for a single text on a terminal, too.")] = False,
) -> None:
    """Label texts with topic and sentiment: JSON lines, in the order given."""
    if (text is None) == (file is None):
        raise ConfigError("command line", [Mistake("TEXT", "expected either a text or --file")])
    settings = load_settings(context)
    classifier = application.build_classifier(settings)
    if text is not None:
        found = classifier.label([text])[0]
        if as_json or not sys.stdout.isatty():
            typer.echo(_line(text, found))
        else:
            print_facts("Label", _facts(found))
        return
    batch: list[str] = []
    for item in texts_of(file) if file is not None else ():
        batch.append(item)
        if len(batch) == _BATCH:
            _print(batch, classifier.label(batch))
            batch = []
    _print(batch, classifier.label(batch))


def _print(texts: list[str], labels: list[Label]) -> None:
    for text, found in zip(texts, labels, strict=True):
        typer.echo(_line(text, found))


def texts_of(file: Path) -> Iterator[str]:
    """Each line of a text; each line of a .jsonl that is not blank.

    Raises: FetchError, naming the line.
    """
    is_json = ".jsonl" in file.suffixes[-2:]
    try:
        with opened(file, errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if not is_json:
                    yield line.rstrip("\r\n")
                elif line.strip():
                    yield _json_text(file, number, line)
    except (OSError, EOFError, zlib.error) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise FetchError(Reason.CLIENT_ERROR, f"{file}: {why}") from error


def _json_text(file: Path, number: int, line: str) -> str:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FetchError(Reason.MALFORMED, f"{file}, line {number}: not JSON: {error}") from error
    if not isinstance(item, dict) or not isinstance(item.get("title"), str):
        raise FetchError(Reason.MALFORMED, f"{file}, line {number}: expected an object with a title")
    summary = item.get("summary") or item.get("description")
    return f"{item['title']}\n{summary}" if isinstance(summary, str) else item["title"]


def _facts(found: Label) -> dict[str, object]:
    return {
        "topic": str(found.top_topic),
        "sentiment": str(found.top_sentiment),
        **{f"probability of {name}": value for name, value in found.sentiment.items()},
        "model_version": found.model_version,
    }


def _line(text: str, found: Label) -> str:
    document: dict[str, Any] = {
        "text": text,
        "topic": str(found.top_topic),
        "sentiment": str(found.top_sentiment),
        "probabilities": {
            "topic": {str(name): round(value, 6) for name, value in found.topic.items()},
            "sentiment": {str(name): round(value, 6) for name, value in found.sentiment.items()},
        },
        "model_version": found.model_version,
    }
    return json.dumps(document, ensure_ascii=False)
