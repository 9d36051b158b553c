"""Every error of the project. The class says whose fault it is, and so what happens next."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why the other side, or a record, failed: decides whether a retry makes sense, and labels counters."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    AUTH = "auth"
    GONE = "gone"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    PROTOCOL = "protocol"
    REDIRECT_LOOP = "redirect_loop"
    REFUSED_ADDRESS = "refused_address"
    TOO_LARGE = "too_large"
    NOT_A_FEED = "not_a_feed"
    MALFORMED = "malformed"
    EMPTY = "empty"
    STORAGE_FULL = "storage_full"
    STORAGE = "storage"
    NO_TEXT = "no_text"
    INVALID = "invalid"
    SCHEMA_TOO_NEW = "schema_too_new"

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, unchanged."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        Reason.TIMEOUT,
        Reason.UNREACHABLE,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
        Reason.PROTOCOL,
        Reason.STORAGE_FULL,
        Reason.STORAGE,
    }
)


class MonitorError(Exception):
    """Root of every error this project raises on purpose."""


class Mistake(NamedTuple):
    """One thing wrong in the configuration: its key, and what was expected there."""

    key: str
    expected: str


class ConfigError(MonitorError):
    """The configuration is wrong. The process exits 2 before anything starts, with all mistakes at once."""

    def __init__(self, where: str, mistakes: Sequence[Mistake]) -> None:
        self.where = where
        self.mistakes = tuple(mistakes)
        lines = [f"{where}: {len(self.mistakes)} mistake(s)"]
        lines += [f"  {mistake.key}: {mistake.expected}" for mistake in self.mistakes]
        super().__init__("\n".join(lines))


class BusyError(MonitorError):
    """Another process already does this work on the same data folder."""


class DemoError(MonitorError):
    """The demo could not be played to its end."""


class ChaosError(MonitorError):
    """The stages could not be run to their end, or servers for them are missing. Names what, and what to do."""


class DatasetError(MonitorError):
    """A labelled file cannot be learnt from or judged on. Names the file, the row and the column."""


class ModelError(MonitorError):
    """A model cannot be used. Names the model, and what it lacks."""


class RemoteError(MonitorError):
    """The other side failed. Retry while `.retryable`, and not before `.retry_after_s` seconds."""

    def __init__(self, reason: Reason, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        return self.reason.retryable


class FetchError(RemoteError):
    """A feed could not be read."""


class DeliveryError(RemoteError):
    """A channel could not deliver. Carries a reason and never an address, a URL or a secret."""


class BusError(RemoteError):
    """The bus could not be read or written."""


class StoreError(RemoteError):
    """The database could not be read or written."""


class LeaseError(StoreError):
    """Another copy acts now: nothing was written, and this one stands by."""


class RecordError(MonitorError):
    """This one record is wrong: it goes to the dead letters with its reason, and work goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvariantError(MonitorError):
    """The code is wrong: the process stops."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; this is a bug")
