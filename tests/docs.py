"""Writes the generated parts of the README: `make docs`. A test holds the README to them."""

import sys
from pathlib import Path
from typing import Any

import click
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from monitor.cli import app
from monitor.errors import Reason
from monitor.plugins import kinds, load
from monitor.settings import Settings

README = Path(__file__).parent.parent / "README.md"

PLUGINS = {
    "[feeds.NAME]": "pipelines.ingest.sources",
    "[classifier]": "pipelines.classify.models",
    "[detector]": "pipelines.detect.detectors",
    "[alerts.channels.NAME]": "alerts.channels",
}


def generated() -> dict[str, str]:
    """The text of each generated part, by its marker."""
    return {"commands": _commands(), "settings": _settings(), "reasons": _reasons()}


def render(text: str) -> str:
    """The README with its generated parts as they should be."""
    for marker, body in generated().items():
        start, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->\n"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}{body}{end}{after}"
    return text


def _commands() -> str:
    root = typer.main.get_command(app)
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `{usage}` | {text} |" for usage, text in sorted(_walk(root, "monitor"))]
    return "\n".join(lines) + "\n"


def _walk(command: Any, path: str) -> list[tuple[str, str]]:
    children = getattr(command, "commands", None)
    if children is not None:
        below = [row for name, child in children.items() for row in _walk(child, f"{path} {name}")]
        if not command.invoke_without_command or command.no_args_is_help:
            return below
        return [*below, _row_of(command, path)]
    return [_row_of(command, path)]


def _row_of(command: Any, path: str) -> tuple[str, str]:
    words = [path, *(_usage(parameter) for parameter in command.params if parameter.name != "help")]
    return " ".join(word for word in words if word).replace("|", "\\|"), (command.help or "").splitlines()[0]


def _usage(parameter: Any) -> str:
    metavar = (parameter.metavar or parameter.name or "").upper()
    if isinstance(parameter, click.Argument) or parameter.param_type_name == "argument":
        word = f"{metavar}..." if parameter.nargs == -1 else metavar
        return word if parameter.required else f"[{word}]"
    option = next(name for name in parameter.opts if name.startswith("--"))
    return f"[{option}]" if parameter.is_flag else f"[{option} {metavar.strip('_')}]"


def _settings() -> str:
    lines = ["| key | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        section = field.default
        if isinstance(section, BaseModel):
            lines += _rows(name, section)
        else:
            lines.append(_row(name, field))
    for table, package in PLUGINS.items():
        for kind in kinds(package):
            config = load(package, kind).Config
            lines.append(f'| **`{table}` with `kind = "{kind}"`** | | {(config.__doc__ or "").splitlines()[0]} |')
            lines += [_row(key, field) for key, field in config.model_fields.items() if key != "kind"]
    return "\n".join(lines) + "\n"


def _rows(name: str, section: BaseModel) -> list[str]:
    lines = []
    for key, field in type(section).model_fields.items():
        inner = field.default
        lines += _rows(f"{name}.{key}", inner) if isinstance(inner, BaseModel) else [_row(f"{name}.{key}", field)]
    return lines


def _row(key: str, field: FieldInfo) -> str:
    return f"| `{key}` | {_default(field)} | {(field.description or '').replace('|', '/')} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return "unset"
    if isinstance(value, Path):
        value = str(value)
    plain = to_jsonable_python(value)
    if isinstance(plain, dict):
        return ", ".join(f"{name} = {item}" for name, item in plain.items()) or "none"
    if isinstance(value, frozenset):
        plain = sorted(plain)
    told = str(plain).lower() if isinstance(plain, bool) else str(plain).replace("|", "\\|")
    return f"`{told}`"


def _reasons() -> str:
    return ", ".join(f"`{reason}`" for reason in Reason) + "\n"


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{README.name} is up to date\n")
