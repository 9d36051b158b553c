"""Plugins: a source, classifier, detector or channel is one file, and the file's name is its `kind` in config.toml."""

import importlib
import pkgutil
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

base_dir: ContextVar[Path] = ContextVar("base_dir", default=Path())
"""The folder that relative paths in the configuration start from: that of its file."""


IN_A_FILE = "may be given as the path of a file"
"""Marks a field that holds a secret without being a SecretStr: `Annotated[str, IN_A_FILE]`."""


class SecretFiles(BaseModel):
    """Base of what is configured: a secret `x` may be given as `x_file`, the path of a file that holds it.

    So neither config.toml nor the environment needs to hold one.
    """

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        resolved = dict(given)
        for name, field in cls.model_fields.items():
            secret = _is_secret(field.annotation) or IN_A_FILE in field.metadata
            path = resolved.pop(f"{name}_file", None) if secret else None
            if path is None:
                continue
            if name in resolved:
                resolved[name] = _Unread(f"both {name} and {name}_file are given; expected one of them")
            else:
                resolved[name] = _read(f"{name}_file", path)
        return resolved

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unread(cls, value: Any) -> Any:
        # Here rather than where it was read: the other mistakes in the table are then told as well.
        if isinstance(value, _Unread):
            raise ValueError(value.why)  # noqa: TRY004  # pydantic collects ValueErrors
        return value


class PluginConfig(SecretFiles):
    """Base of every plugin's `Config`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: str

    @classmethod
    def example(cls, *, secret: str = "example") -> Self:
        """A valid configuration, for contract tests and documentation; `secret` fills every secret field."""
        raise NotImplementedError


class _Unread(NamedTuple):
    """Stands for a secret that could not be had."""

    why: str


def _read(name: str, path: Any) -> str | _Unread:
    if not isinstance(path, str | Path):
        return _Unread(f"{name}: expected a path")
    where = base_dir.get() / path
    try:
        text = where.read_text(encoding="utf-8").strip()
    except OSError as error:
        return _Unread(f"{name}: cannot read {where}: {error.strerror}")
    except UnicodeDecodeError:
        return _Unread(f"{name}: {path} does not hold text")
    return text or _Unread(f"{name}: {where} is empty")


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def kinds(package: str) -> list[str]:
    """The kinds a package offers, sorted; modules whose name starts with an underscore are not plugins."""
    parent = importlib.import_module(package)
    return sorted(module.name for module in pkgutil.iter_modules(parent.__path__) if not module.name.startswith("_"))


def load(package: str, kind: str) -> ModuleType:
    """The plugin's module.

    Raises: LookupError, naming the kinds that exist.
    """
    known = kinds(package)
    if kind not in known:
        raise LookupError(f"unknown kind {kind!r}; expected one of: {', '.join(known)}")
    return importlib.import_module(f"{package}.{kind}")
