"""What every command begins with."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from monitor import app, logs
from monitor.errors import ConfigError
from monitor.settings import Settings, find_config, load
from monitor.storage.store import Store

T = TypeVar("T")


def settings(context: typer.Context, *, quiet: bool = True) -> Settings:
    """The settings, with logging set up; `quiet` commands log warnings and worse only.

    Raises: ConfigError.
    """
    found = load(find_config(context.obj))
    logs.configure("WARNING" if quiet else found.log.level, json=found.log.json_lines)
    return found


def is_configured(context: typer.Context) -> bool:
    """Whether there is a configuration, or one is asked for."""
    try:
        find_config(context.obj)
    except ConfigError:
        return context.obj is not None or "MONITOR_CONFIG" in os.environ
    return True


def with_store(context: typer.Context, ask: Callable[[Store], Awaitable[T]]) -> T:
    """What `ask` answers, given the tables."""

    async def answer() -> T:
        async with app.open_store(settings(context)) as store:
            return await ask(store)

    return asyncio.run(answer())
