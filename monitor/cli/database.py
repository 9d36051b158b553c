"""Commands about the database itself."""

import os
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.context import with_store
from monitor.cli.output import console
from monitor.errors import ConfigError, Mistake
from monitor.storage.analysts import VIEWS

app = typer.Typer(help="Say who may read the database.", no_args_is_help=True)


@app.callback()
def database() -> None:
    """Say who may read the database."""


@app.command("grant-analyst")
def grant_analyst(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="Name of a PostgreSQL role; made if it is missing.")],
    password_file: Annotated[
        Path | None, typer.Option(help="File with the role's password; default: $MONITOR_ANALYST_PASSWORD, else none.")
    ] = None,
) -> None:
    """Let a PostgreSQL role read the product's SQL views, and nothing else; may be repeated."""
    password = _password(password_file)
    made = with_store(context, lambda store: store.analysts.grant(role, password))
    console.print(f"{'made' if made else 'found'} the role {role}; it reads: {', '.join(VIEWS)}", markup=False)
    if made and password is None:
        console.print("It has no password: it can log in only where pg_hba.conf asks for none.")


def _password(file: Path | None) -> str | None:
    if file is None:
        given = os.environ.get("MONITOR_ANALYST_PASSWORD")
        option = "MONITOR_ANALYST_PASSWORD"
    else:
        option = "--password-file"
        try:
            given = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("command line", [Mistake(option, f"cannot read {file}: {error}")]) from None
    if given is None:
        return None
    # Other characters would have to be prepared as RFC 4013 says, on this side as on that of every client.
    if not given or not given.isascii() or not given.isprintable():
        raise ConfigError("command line", [Mistake(option, "expected a password of printable ASCII characters")])
    return given
