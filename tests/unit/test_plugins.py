"""Plugins: found by their file, configured by their own table."""

import pytest
from pydantic import SecretStr, ValidationError

from monitor.plugins import PluginConfig, kinds, load

PACKAGES = (
    "pipelines.ingest.sources",
    "pipelines.classify.models",
    "pipelines.detect.detectors",
    "alerts.channels",
)
ALL = [(package, kind) for package in PACKAGES for kind in kinds(package)]


class Config(PluginConfig):
    """Of a plugin that is none."""

    kind: str = "example"
    token: SecretStr | None = None
    size: int = 1


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_names_its_kinds(package: str) -> None:
    found = kinds(package)
    assert found == sorted(found) != []
    assert not any(kind.startswith("_") for kind in found)
    with pytest.raises(LookupError, match=f"expected one of: {', '.join(found)}"):
        load(package, "unheard_of")


@pytest.mark.parametrize("kind", ["", "_lexicon", "../settings", "lexicon.Config", "os"])
def test_nothing_else_can_be_loaded(kind: str) -> None:
    with pytest.raises(LookupError):
        load("pipelines.classify.models", kind)


@pytest.mark.parametrize(("package", "kind"), ALL)
def test_every_plugin_has_a_config_with_an_example(package: str, kind: str) -> None:
    module = load(package, kind)
    example = module.Config.example(secret="s3cr3t")
    assert example.kind == kind
    assert type(example).model_validate(example.model_dump()) == example
    assert callable(module.build)
    for name, field in module.Config.model_fields.items():
        assert field.description or name == "kind", f"{kind}.{name}"


def test_unknown_keys_are_refused_without_their_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"unheard_of": "hunter2", "size": "hunter2"})
    assert caught.value.error_count() == 2
    assert "hunter2" not in str(caught.value)


def test_only_secrets_may_lie_in_files() -> None:
    with pytest.raises(ValidationError, match="size_file"):
        Config.model_validate({"size_file": "/dev/null"})


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValidationError):
        Config.model_validate("hunter2")
