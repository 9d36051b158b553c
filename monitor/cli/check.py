"""The command that looks at the configuration."""

import json
from typing import Any

import typer

from alerts.doubts import doubts
from monitor import app as application
from monitor.cli.context import settings as load_settings
from monitor.cli.output import AsJson, errors, print_facts, print_json, print_tree, without_passwords
from monitor.cli.routes import tree
from monitor.web.build import require_links


def register(app: typer.Typer) -> None:
    app.command()(check)


def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the configuration, and print it as resolved; secrets are hidden.

    Warns of routes that no alert can reach, and of what no route names; that is no mistake, and the exit code stays 0.
    """
    settings = load_settings(context)
    application.require_shared_database(settings)
    if settings.web.enabled:
        require_links(settings)
    resolved: dict[str, Any] = without_passwords(settings.model_dump(mode="json"))
    found = doubts(settings.alerts)
    if as_json:
        print_json({**resolved, "warnings": [one._asdict() for one in found]})
    else:
        print_facts("Configuration: no mistakes", _facts(resolved))
        print_tree(tree(settings.alerts))
    for one in found:
        errors.print(f"warning: {one.key}: {one.why}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _facts(resolved: dict[str, Any]) -> dict[str, object]:
    facts: dict[str, object] = {}
    for section, value in resolved.items():
        if section == "feeds":
            facts["feeds"] = f"{sum(feed['enabled'] for feed in value.values())} enabled of {len(value)}"
        elif isinstance(value, dict):
            facts.update({f"{section}.{key}": _plain(item) for key, item in value.items()})
        else:
            facts[section] = value
    del facts["alerts.route"]  # is printed as a tree
    return facts


def _plain(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
