"""Commands about models: which there are, which one labels, and how another one comes to."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, console, print_facts, print_json, print_rows
from monitor.clock import SystemClock
from monitor.errors import ConfigError, Mistake
from pipelines.classify.registry import Entry, Moved, Registry

app = typer.Typer(help="List, add and promote models.", no_args_is_help=True)


@app.command("list")
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """Every version of the model, which one labels, how good each is, and what is wrong with it."""
    entries = _registry(context).entries()
    if as_json:
        print_json([entry.model_dump() for entry in entries])
        return
    print_rows(
        "Models",
        ("version", "state", "added (UTC)", "promoted (UTC)", "scores", "why"),
        (
            (entry.version, _state(entry), entry.added_at, entry.promoted_at, _scores(entry), _why(entry))
            for entry in entries
        ),
    )


@app.command()
def add(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A model folder, as `monitor train` leaves one.")],
    as_json: AsJson = False,
) -> None:
    """Copy a model into the registry; it labels nothing until it is promoted."""
    card = _registry(context).add(folder)
    if as_json:
        print_json(card.model_dump())
        return
    print_facts("Model", card.model_dump())
    _say(f"added; it labels once it is promoted: monitor models promote {card.version}")


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A version in the list.")],
    as_json: AsJson = False,
) -> None:
    """Make a version the one that labels; a running daemon follows without a restart."""
    registry = _registry(context)
    known = [entry.version for entry in registry.entries()]
    if version not in known:
        expected = f"no version {version!r}; expected one of: {', '.join(known) or 'none, add one first'}"
        raise ConfigError("command line", [Mistake("VERSION", expected)])
    _tell(registry.promote(version), as_json=as_json)


@app.command()
def rollback(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the version that labelled before the current one label again."""
    _tell(_registry(context).rollback(), as_json=as_json)


def _registry(context: typer.Context) -> Registry:
    return Registry(load_settings(context).models.folder, SystemClock())


def _tell(moved: Moved, *, as_json: bool) -> None:
    if as_json:
        print_json(moved._asdict())
        return
    was = f" after {moved.before}" if moved.before not in (None, moved.after) else ""
    _say(
        f"{moved.after} is current{was}; a running daemon loads it with its next articles, "
        "and says in `monitor models list` if it cannot"
    )


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _state(entry: Entry) -> str:
    state = "current" if entry.is_current else "shipped" if entry.is_shipped else ""
    wrong = "broken" if entry.fault else "refused" if entry.refused else ""
    return ", ".join(part for part in (state, wrong) if part) or "ready"


def _scores(entry: Entry) -> str | None:
    return ", ".join(f"{name} {value:.3f}" for name, value in entry.metrics.items()) or None


def _why(entry: Entry) -> str | None:
    parts = [entry.fault] if entry.fault else []
    if refused := entry.refused:
        stays = f"; {refused.kept} labels instead" if refused.kept else ""
        parts.append(f"refused at {refused.at:%Y-%m-%d %H:%M:%S}: {refused.reason}{stays}")
    return "; ".join(parts) or None
