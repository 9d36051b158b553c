"""The settings of [alerts]: who hears of what, when. The words are Alertmanager's."""

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from monitor.domain.labels import Topic
from monitor.domain.matchers import Matcher, MatcherText, parse
from monitor.domain.spikes import Severity
from monitor.domain.time_intervals import TimeInterval, clock_minutes, zone_name
from monitor.domain.windows import Key, KeyKind
from monitor.plugins import SecretFiles, base_dir

RESERVED_LABELS = ("kind", "key", "severity")
"""What every alert is labelled with; the configuration adds others."""

DEFAULT_RECEIVER = "default"
"""Who hears where the root of the routes names nobody: all enabled channels."""

ALL_LABELS = "..."
"""In `group_by`: every label, so that each alert is a group of its own."""

_DEEPEST = 50
"""Levels of routes; nobody reads a deeper tree."""

_Wait = Annotated[float, Field(ge=0, le=31_622_400)]
_Hours = Annotated[float, Field(gt=0, le=87_840)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Table(SecretFiles):
    """Base of the tables in [alerts]: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, serialize_by_alias=True
    )


class RootRoute(_Table):
    """The root of the tree of routes: it matches everything."""

    receiver: _Name | None = Field(None, description='who hears; unset: the parent\'s, at the root "default"')
    group_by: tuple[_Name, ...] | None = Field(
        None, description='labels whose values a group shares, ["..."] for all; unset: the parent\'s'
    )
    group_wait_s: _Wait | None = Field(None, description="wait before a group's first message; unset: the parent's")
    group_interval_s: _Wait | None = Field(None, description="wait between a group's messages; unset: the parent's")
    repeat_interval_s: _Wait | None = Field(
        None, description="wait before what still fires is told again; unset: the parent's"
    )
    mute_time_intervals: tuple[_Name, ...] = Field((), description="time intervals in which nothing is told")
    active_time_intervals: tuple[_Name, ...] = Field((), description="time intervals outside which nothing is told")
    pass_severity: Severity | None = Field(
        None, description="from this severity on, time intervals hold nothing back; unset: they hold all back"
    )
    routes: "tuple[Route, ...]" = Field((), description="the routes below, the first that matches wins")

    @field_validator("group_by")
    @classmethod
    def _all_or_some(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and ALL_LABELS in value and len(value) > 1:
            raise ValueError(f'"{ALL_LABELS}" means every label; expected it alone')
        return value


class Route(RootRoute):
    """A route below the root."""

    matchers: tuple[MatcherText, ...] = Field((), description="what an alert's labels must meet, all of them")
    continue_: bool = Field(
        False, alias="continue", description="true: the routes after this one are tried as well, where this one matched"
    )


class Receiver(_Table):
    """Who hears, by which channels, and how much at most."""

    channels: tuple[_Name, ...] = Field(description="names of [alerts.channels.NAME]; none: nobody hears")
    budget_per_day: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="most messages of firing alerts in 24 h, the strongest first; 0: no limit"
    )
    send_resolved: bool = Field(True, description="whether the end of an alert is told")
    digest: Literal["off", "hourly", "daily"] = Field("off", description="how often a digest is sent")
    digest_at: str = Field("07:30", description="when the daily digest is sent, by the clock of time_zone")
    time_zone: Annotated[str, AfterValidator(zone_name)] = Field(
        "UTC", description="time zone of the digest, by its IANA name"
    )
    digest_when_quiet: bool = Field(True, description="whether a digest is sent where nothing happened")
    digest_keys: tuple[str, ...] = Field(
        ("all", "topic"), description='keys in the digest\'s table: a kind, or one of them, such as "topic:Financials"'
    )

    @field_validator("channels")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value

    @field_validator("digest_at")
    @classmethod
    def _clock(cls, value: str) -> str:
        if clock_minutes(value) == 24 * 60:
            raise ValueError('expected a time of day from "00:00" to "23:59"')
        return value

    @field_validator("digest_keys")
    @classmethod
    def _kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for given in value:
            kind, colon, name = given.partition(":")
            if kind not in get_args(KeyKind) or (colon and not name):
                kinds = ", ".join(get_args(KeyKind))
                raise ValueError(f'unknown key "{given}"; expected a kind ({kinds}), or kind:name')
            if kind == "topic" and colon and name not in set(Topic):
                raise ValueError(f'unknown topic "{name}"; expected one of: {", ".join(Topic)}')
        return value

    @property
    def digest_time(self) -> time:
        return time.fromisoformat(self.digest_at)

    @property
    def digest_kinds(self) -> list[KeyKind]:
        """The kinds of which the digest's table shows at least one key."""
        return [
            kind for kind in get_args(KeyKind) if any(given.partition(":")[0] == kind for given in self.digest_keys)
        ]

    @property
    def digest_named(self) -> list[Key]:
        """The keys that the table shows by name."""
        return [
            Key(kind, given.removeprefix(f"{kind}:"))
            for kind in self.digest_kinds
            for given in self.digest_keys
            if given.startswith(f"{kind}:")
        ]

    def watches(self, key: Key) -> bool:
        """Whether the key stands in the table of the digest."""
        return key.kind in self.digest_keys or f"{key.kind}:{key.name}" in self.digest_keys


def _some(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    if not matchers:
        raise ValueError("expected at least one matcher")
    return matchers


class InhibitRule(_Table):
    """Alerts that meet `target_matchers` are quiet while one fires that meets `source_matchers`."""

    source_matchers: Annotated[tuple[MatcherText, ...], AfterValidator(_some)] = Field(description="what quiets")
    target_matchers: Annotated[tuple[MatcherText, ...], AfterValidator(_some)] = Field(description="what is quiet")
    equal: tuple[_Name, ...] = Field((), description="labels that must have the same value on both")


class LabelRule(_Table):
    """Labels for the alerts that meet `matchers`."""

    matchers: tuple[MatcherText, ...] = Field((), description="what an alert's labels must meet; none: every alert")
    set: dict[_Name, str] = Field(min_length=1, description="the labels added")


_MARKET_QUIETS_PARTS = InhibitRule(
    source_matchers=(parse('kind="all"'),), target_matchers=(parse('kind=~"topic|source"'),)
)


class AlertSettings(_Table):
    """Who hears of spikes."""

    min_severity: Severity = Field(Severity.WARNING, description="spikes below this are stored but not sent")
    group_by: tuple[_Name, ...] = Field(
        (), description="labels whose values the alerts of a group share; none: one group"
    )
    group_wait_s: _Wait = Field(30, description="wait after the first alert of a group for others to join it")
    group_interval_s: _Wait = Field(300, description="wait after a message before the group's next changes are told")
    repeat_interval_s: _Wait = Field(
        14_400, description="what still fires is told again after this, unless acknowledged"
    )
    keep_firing_for_s: _Wait = Field(1800, description="an alert ends once its key has been quiet for so long")
    story_memory_h: _Hours = Field(
        24, description="a spike made of stories already sent within this time is not sent again"
    )
    horizon_h: _Hours = Field(6, description="a spike older than this when its turn comes is no news, and not sent")
    expire_h: _Hours = Field(72, description="a notification not delivered within this time is given up")
    allow_private_addresses: bool = Field(
        False, description="webhooks may also go to loopback, private and link-local addresses"
    )
    base_url: str | None = Field(
        None, description="begins the links to page, silence and acknowledge; unset: messages have none"
    )
    link_secret: SecretStr | None = Field(None, description="signs these links; at least 32 characters")
    link_days: Annotated[float, Field(gt=0, le=3660)] = Field(7, description="days for which a link works")
    labels_file: Path | None = Field(
        None, description='CSV of labels by the name of a key: header "key", then one column for each label'
    )
    route: RootRoute = RootRoute()
    receivers: dict[_Name, Receiver] = Field(
        default_factory=dict, description="one table per receiver; a channel that has none of its name is one by itself"
    )
    inhibit: tuple[InhibitRule, ...] = Field((_MARKET_QUIETS_PARTS,), description="which alerts keep others quiet")
    time_intervals: dict[_Name, tuple[TimeInterval, ...]] = Field(
        default_factory=dict, description="time intervals by name; each a list, of which one must hold"
    )
    labels: tuple[LabelRule, ...] = Field((), description="labels added to alerts, the later rule wins")
    channels: dict[str, Any] = Field(default_factory=dict, description="one table per channel, [alerts.channels.NAME]")

    _labels_by_key: dict[str, dict[str, str]] = PrivateAttr(default_factory=dict)

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        # A name or a password in it would stand in every message.
        if not right or parts.query or parts.fragment or "@" in parts.netloc or not value.isprintable() or " " in value:
            raise ValueError(
                "expected an address such as https://monitor.example.org, without user, query and fragment"
            )
        return value.rstrip("/")

    @field_validator("link_secret")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("expected at least 32 characters")
        return value

    @field_validator("labels_file")
    @classmethod
    def _beside_the_file(cls, value: Path | None) -> Path | None:
        return None if value is None else base_dir.get() / value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        mistakes = list(self._mistakes())
        if self.labels_file is not None:
            try:
                self._labels_by_key = read_labels(self.labels_file)
            except ValueError as error:
                mistakes.append((("labels_file",), str(error)))
        if mistakes:
            # A plain ValueError would be told as one of [alerts]; these have the keys they are about.
            raise ValidationError.from_exception_data(
                "AlertSettings",
                [
                    InitErrorDetails(
                        type=PydanticCustomError("inconsistent", "{text}", {"text": text}), loc=key, input=None
                    )
                    for key, text in mistakes
                ],
                hide_input=True,
            )
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What one table says of another and is wrong: the key it stands at, and why."""
        if self.base_url is not None and self.link_secret is None:
            yield ("link_secret",), "missing; base_url needs it: at least 32 characters that sign the links"
        for name, receiver in self.receivers.items():
            for index, channel in enumerate(receiver.channels):
                if channel not in self.channels:
                    yield ("receivers", name, "channels", index), _unknown("channel", channel, self.channels)
        for index, rule in enumerate(self.labels):
            for label in rule.set:
                if label in RESERVED_LABELS:
                    yield ("labels", index, "set", label), "every alert has this label already; expected another name"
        known = {*self.receivers, *self.channels, *([] if self.route.receiver else [DEFAULT_RECEIVER])}
        for key, route in _walk(self.route, ("route",)):
            if len(key) == 1 + 2 * _DEEPEST and route.routes:
                yield (*key, "routes"), f"below the {_DEEPEST}th level; expected a flatter tree"
            if route.receiver is not None and route.receiver not in known:
                yield (*key, "receiver"), _unknown("receiver", route.receiver, known)
            for field in ("mute_time_intervals", "active_time_intervals"):
                for index, interval in enumerate(getattr(route, field)):
                    if interval not in self.time_intervals:
                        yield (*key, field, index), _unknown("time interval", interval, self.time_intervals)

    @property
    def labels_by_key(self) -> Mapping[str, Mapping[str, str]]:
        """What labels_file holds: labels by the name of a key, in `str.casefold`."""
        return self._labels_by_key

    @property
    def root_receiver(self) -> str:
        return self.route.receiver or DEFAULT_RECEIVER

    def receivers_resolved(self) -> dict[str, Receiver]:
        """Every receiver there is, by name: those of the file, each channel without one of its name, and "default" if
        the root route names nobody. Channels that are not enabled are left out of them.
        """
        enabled = [name for name, config in self.channels.items() if getattr(config, "enabled", config is not None)]
        found = {name: Receiver(channels=(name,)) for name in self.channels}
        if self.route.receiver is None:
            found[DEFAULT_RECEIVER] = Receiver(channels=tuple(enabled))
        found |= self.receivers
        return {
            name: receiver.model_copy(
                update={"channels": tuple(channel for channel in receiver.channels if channel in enabled)}
            )
            for name, receiver in found.items()
        }


def _walk(route: RootRoute, key: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], RootRoute]]:
    yield key, route
    for index, below in enumerate(route.routes):
        yield from _walk(below, (*key, "routes", index))


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    return f'unknown {what} "{name}"; expected one of: {", ".join(sorted(known)) or "(there is none)"}'


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """The labels in a file, by the name of the key they are for, in `str.casefold`. An empty cell sets no label.

    Raises: ValueError, naming the line.
    """
    found: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            key = _key_column(header, path)
            for row in rows:
                if not row:
                    continue
                where = f"{path}, line {rows.line_num}"
                if len(row) != len(header):
                    raise ValueError(f"{where}: {len(row)} cells; expected {len(header)}, as in the header")
                name = row[key].strip().casefold()
                if not name or name in found:
                    raise ValueError(f"{where}: {'key is empty' if not name else f'{row[key]!r} stands there twice'}")
                found[name] = {
                    label: cell.strip()
                    for label, cell in zip(header, row, strict=True)
                    if label != "key" and cell.strip()
                }
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
    return found


def _key_column(header: Sequence[str], path: Path) -> int:
    """Raises: ValueError, if the header is none."""
    if "key" not in header:
        raise ValueError(f'{path}: no column "key" in the first line; expected key,<label>,...')
    if "" in header or len(set(header)) != len(header):
        raise ValueError(f"{path}: each column needs a name of its own in the first line")
    reserved = [name for name in header if name in RESERVED_LABELS and name != "key"]
    if reserved:
        raise ValueError(
            f'{path}: column "{reserved[0]}" is a label that every alert has already; expected another name'
        )
    return header.index("key")
