"""Settings: config.toml section by section, read once. The environment beats the file, the file beats the default."""

import json
import math
import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from monitor import plugins
from monitor.alert_settings import AlertSettings as AlertSettings
from monitor.domain.windows import KeyKind
from monitor.errors import ConfigError, Mistake
from monitor.kafka_settings import KafkaSettings
from monitor.plugins import IN_A_FILE, PluginConfig, SecretFiles
from monitor.web_settings import WebSettings

ENV_PREFIX = "MONITOR_"
_NOT_SETTINGS = frozenset({"MONITOR_CONFIG", "MONITOR_ANALYST_PASSWORD"})

Seconds = Annotated[float, Field(gt=0, le=31_622_400)]
Hours = Annotated[float, Field(gt=0, le=87_840)]
Days = Annotated[float, Field(gt=0, le=36_600)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(SecretFiles):
    """Base of the sections of config.toml: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LogSettings(Section):
    """How the daemon logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe line that is written")
    json_lines: bool | None = Field(None, description="JSON lines; unset: JSON unless standard error is a terminal")


class DatabaseSettings(Section):
    """Where articles, labels, trends, spikes and notifications are kept."""

    url: Annotated[str | None, IN_A_FILE] = Field(None, description="SQLAlchemy URL; unset: SQLite in data_dir")
    retention_days: Annotated[int, Field(ge=0, le=36_600)] = Field(
        0, description="articles, labels and 5-minute buckets older than this are deleted, or not taken in; 0 keeps all"
    )
    alert_retention_days: Annotated[int, Field(ge=0, le=36_600)] = Field(
        0, description="alerts, messages, silences and spikes that ended longer ago are deleted; 0 keeps all"
    )


class BusSettings(Section):
    """The log that joins the stages."""

    kind: Literal["embedded", "kafka"] = Field(
        "embedded", description="embedded: a durable log in one SQLite file; kafka: the cluster of [bus.kafka]"
    )
    partitions: Annotated[int, Field(ge=1, le=1000)] = Field(
        4, description="partitions of each stream; fixed once the log exists"
    )
    retention_h: Hours = Field(
        48, description="hours for which records are kept; the embedded bus also keeps what is still to be read"
    )
    kafka: KafkaSettings = KafkaSettings()


class HttpSettings(Section):
    """How feeds are fetched."""

    user_agent: str = Field(
        "News Monitor ops@example.org",
        description="sent with every request; the SEC and others ask for a contact address here",
    )
    timeout_s: Seconds = Field(20, description="limit for one whole fetch, redirects included")
    max_body_bytes: PositiveInt = Field(8_000_000, description="limit of one body, counted after decompression")
    max_redirects: Annotated[int, Field(ge=0)] = Field(5, description="redirects followed in one fetch")
    concurrency: Count = Field(16, description="fetches under way at once")
    per_host: Count = Field(2, description="fetches under way at once on one host")
    allow_private_addresses: bool = Field(
        False, description="also fetch from loopback, private and link-local addresses"
    )
    proxy: SecretStr | None = Field(
        None, description="URL of an HTTP proxy for feeds and webhooks; it then decides which addresses are allowed"
    )

    @property
    def proxy_url(self) -> str | None:
        """The proxy's address, with the password that it may hold."""
        return None if self.proxy is None else self.proxy.get_secret_value()

    @field_validator("user_agent")
    @classmethod
    def _header(cls, value: str) -> str:
        if not value.isascii() or not value.isprintable():
            raise ValueError("expected printable ASCII: it is sent as a header")
        return value


class IngestSettings(Section):
    """When feeds are polled, and which entries are taken."""

    interval_s: Seconds = Field(300, description="poll interval of a feed that names none")
    min_interval_s: Seconds = Field(30, description="no feed is polled more often, whatever it asks for")
    max_interval_s: Seconds = Field(86_400, description="no feed waits longer, whatever it asks for")
    jitter: Fraction = Field(0.1, description="share of the interval by which polls are spread at random")
    max_age_days: Days = Field(
        3650, description="a publisher's date older than this is not believed: the fetch time is used instead"
    )
    future_tolerance_s: Annotated[float, Field(ge=0, le=31_622_400)] = Field(
        300, description="a publisher's date further ahead than this is not believed"
    )
    parse_timeout_s: Seconds = Field(30, description="limit for parsing one body")
    parsers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="processes that parse bodies, beside the event loop"
    )
    max_entries: Count = Field(5000, description="most entries taken from one body; the rest is left, and said so")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_interval_s > self.max_interval_s:
            raise ValueError("expected min_interval_s to be at most max_interval_s")
        return self


class ClassifySettings(Section):
    """How articles are labelled."""

    languages: frozenset[str] = Field(
        frozenset({"en"}), description="languages the model knows; articles in others are stored, not labelled"
    )
    max_batch: Count = Field(256, description="most articles labelled in one call")


class ModelsSettings(Section):
    """Where the versions of the model are kept, for classifiers that have weights."""

    folder: Path = Field(Path("data/models"), description="folder of the versions, relative to config.toml")


class AggregateSettings(Section):
    """How labelled articles are stored and counted."""

    max_batch: Count = Field(500, description="most articles stored in one transaction")
    show_headlines: Count = Field(20, description="new articles are logged one by one in batches up to this size")


class DetectSettings(Section):
    """When trends are looked at, and on which keys."""

    tick_s: Annotated[float, Field(ge=0.05, le=3600)] = Field(5, description="seconds between two looks")
    keys: frozenset[KeyKind] = Field(frozenset({"all", "topic", "entity"}), description="kinds of key that are watched")
    min_sources: Count = Field(1, description="least distinct sources of the negative stories of a spike")
    negative_from: Annotated[float, Field(gt=0, le=1)] = Field(
        0.25, description="probability of the negative label from which a story counts as bad news; a miss costs more"
    )
    alert_horizon_s: Annotated[float, Field(ge=300, le=604_800)] = Field(
        7200, description="an article published longer ago than this when it comes is counted, and gives no alarm"
    )
    story_capacity: Annotated[int, Field(ge=1_000, le=10_000_000)] = Field(
        131_072, description="newest articles among which an article's story is looked for; each takes 700 bytes"
    )


class DaemonSettings(Section):
    """How the daemon starts and stops."""

    drain_s: Seconds = Field(30, description="limit for all stages to finish their work when asked to stop")
    heartbeat_s: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        5, description="seconds between two reports of each stage's health"
    )


_mistakes: ContextVar[list[Mistake] | None] = ContextVar("_mistakes", default=None)
_environment: ContextVar[Mapping[str, str]] = ContextVar("_environment", default=os.environ)
_toml_file: ContextVar[Path | None] = ContextVar("_toml_file", default=None)


class Settings(BaseSettings):
    """All settings. Use `load`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
    )

    data_dir: Path = Field(Path("data"), description="folder of the log and the database, relative to config.toml")
    log: LogSettings = LogSettings()
    database: DatabaseSettings = DatabaseSettings()
    bus: BusSettings = BusSettings()
    http: HttpSettings = HttpSettings()
    ingest: IngestSettings = IngestSettings()
    feeds: dict[str, Any] = Field(default_factory=dict, description="one table per feed, [feeds.NAME]")
    classifier: Any = Field({"kind": "transformer"}, validate_default=True, description="the model that labels")
    classify: ClassifySettings = ClassifySettings()
    models: ModelsSettings = ModelsSettings()
    aggregate: AggregateSettings = AggregateSettings()
    detector: Any = Field({"kind": "gamma_poisson"}, validate_default=True, description="what scores trends")
    detect: DetectSettings = DetectSettings()
    alerts: AlertSettings = AlertSettings()
    web: WebSettings = WebSettings()
    daemon: DaemonSettings = DaemonSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # it cannot see into the tables of plugins
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # there are no .env files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # nor secret folders
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = _toml_file.get()
        files = () if path is None else (TomlConfigSettingsSource(settings_cls, toml_file=path),)
        environment = InitSettingsSource(settings_cls, init_kwargs=_from_environment(_environment.get()))
        return (init_settings, environment, *files)

    @model_validator(mode="before")
    @classmethod
    def _resolve_plugins(cls, given: Any) -> Any:
        """Replaces the table of every plugin by that plugin's own Config, and collects what is wrong in it."""
        resolved = dict(given)
        for field, package in (("classifier", "pipelines.classify.models"), ("detector", "pipelines.detect.detectors")):
            default = cls.model_fields[field].default
            resolved[field] = _plugin(field, package, resolved.get(field, default), default_kind=default["kind"])
        feeds = resolved.get("feeds", {})
        if isinstance(feeds, dict):
            resolved["feeds"] = {
                name: _plugin(f"feeds.{name}", "pipelines.ingest.sources", table, default_kind="feed")
                for name, table in feeds.items()
            }
        alerts = resolved.get("alerts", {})
        if isinstance(alerts, dict) and isinstance(alerts.get("channels", {}), dict):
            channels = {
                name: _plugin(f"alerts.channels.{name}", "alerts.channels", table)
                for name, table in alerts.get("channels", {}).items()
            }
            resolved["alerts"] = {**alerts, "channels": channels}
        return resolved

    @model_validator(mode="after")
    def _looks_back_on_what_is_kept(self) -> Self:
        # A digest that comes late begins two days ago; a day more, for clocks that differ.
        look_back_h = max(48.0, self.alerts.story_memory_h, self.alerts.horizon_h)
        least, key = math.ceil(look_back_h / 24) + 1, ("database", "alert_retention_days")
        if 0 < (days := self.database.alert_retention_days) < least:
            why = f"expected 0, or at least {least}: digests, alerts.story_memory_h, alerts.horizon_h look back so far"
            mistake = PydanticCustomError("inconsistent", "{why}", {"why": why})
            raise ValidationError.from_exception_data("Settings", [InitErrorDetails(type=mistake, loc=key, input=days)])
        return self


def _plugin(where: str, package: str, table: Any, default_kind: str | None = None) -> PluginConfig | None:
    if isinstance(table, PluginConfig):
        return table
    found = _mistakes.get()
    if found is None:
        found = []
    if not isinstance(table, dict):
        found.append(Mistake(where, f"expected a table with a kind; got {type(table).__name__}"))
        return None
    kind = table.get("kind", default_kind)
    if kind is None:
        found.append(Mistake(f"{where}.kind", f"missing; expected one of: {', '.join(plugins.kinds(package))}"))
        return None
    try:
        module = plugins.load(package, str(kind))
    except LookupError as error:
        found.append(Mistake(f"{where}.kind", str(error)))
        return None
    try:
        config: PluginConfig = module.Config.model_validate({**table, "kind": kind})
    except ValidationError as error:
        found.extend(_explain(error, where))
        return None
    return config


def _explain(error: ValidationError, prefix: str = "") -> list[Mistake]:
    """Each mistake with its key and what was expected; values are not repeated, one of them may be a secret."""
    mistakes = []
    for detail in error.errors(include_input=False, include_url=False):
        key = ".".join([*([prefix] if prefix else []), *(str(part) for part in detail["loc"])])
        expected = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"]
        mistakes.append(Mistake(key or "config.toml", expected.removeprefix("Value error, ")))
    return mistakes


def _variables(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """The variables that are meant for us, each with the path of its key."""
    return {
        name: name.removeprefix(ENV_PREFIX).lower().split("__")
        for name in sorted(environment)
        if name.startswith(ENV_PREFIX) and name not in _NOT_SETTINGS and not name.startswith("MONITOR_TEST_")
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in the environment, as nested as in the file; lists and tables may be given as JSON."""
    found: dict[str, Any] = {}
    for name, path in _variables(environment).items():
        if path[0] not in Settings.model_fields:
            continue
        table = found
        for part in path[:-1]:
            inner = table.get(part)
            table[part] = table = inner if isinstance(inner, dict) else {}
        table[path[-1]] = _json_or_text(environment[name])
    return found


def _json_or_text(value: str) -> Any:
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _unknown_variables(environment: Mapping[str, str]) -> list[Mistake]:
    return [
        Mistake(name, "unknown environment variable; expected MONITOR_SECTION__KEY")
        for name, path in _variables(environment).items()
        if path[0] not in Settings.model_fields
    ]


def find_config(given: Path | None) -> Path:
    """The configuration file: the one given, else the one named in MONITOR_CONFIG, else ./config.toml.

    Raises: ConfigError, if there is no such file.
    """
    path = given or Path(os.environ.get("MONITOR_CONFIG", "config.toml"))
    if not path.is_file():
        raise ConfigError(str(path), [Mistake("config", "no such file; pass --config or set MONITOR_CONFIG")])
    return path


def of(values: Mapping[str, Any]) -> Settings:
    """Settings made of these values and defaults alone, whatever stands in the environment.

    Raises: ValidationError.
    """
    token = _environment.set({})
    try:
        return Settings.model_validate(values)
    finally:
        _environment.reset(token)


def load(path: Path) -> Settings:
    """Reads the configuration file and the environment.

    Raises: ConfigError, with every mistake in them.
    """
    found: list[Mistake] = _unknown_variables(_environment.get())
    mistakes_token, file_token = _mistakes.set(found), _toml_file.set(path)
    base_token = plugins.base_dir.set(path.resolve().parent)
    settings: Settings | None = None
    try:
        settings = Settings()
    except tomllib.TOMLDecodeError as error:
        found.append(Mistake(path.name, f"not TOML: {error}"))
    except ValidationError as error:
        found.extend(_explain(error))
    except (OSError, ValueError) as error:
        found.append(Mistake("config.toml", str(error)))
    except RecursionError:
        found.append(Mistake("config.toml", "tables in tables, too deep to be read; expected fewer levels"))
    finally:
        _mistakes.reset(mistakes_token)
        _toml_file.reset(file_token)
        plugins.base_dir.reset(base_token)
    if found or settings is None:
        raise ConfigError(str(path), sorted(set(found)))
    base = path.resolve().parent
    models = settings.models.model_copy(update={"folder": (base / settings.models.folder).resolve()})
    return settings.model_copy(update={"data_dir": (base / settings.data_dir).resolve(), "models": models})
