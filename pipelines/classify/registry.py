"""Versions of the model: a folder each, and a pointer to the one that labels. Reads no weights, needs no torch."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from filelock import FileLock, Timeout

from monitor.clock import Clock
from monitor.domain.record import Record, UtcDatetime
from monitor.errors import BusyError, ModelError
from pipelines.classify.folder import NAME, WEIGHTS, Config, read, read_object
from pipelines.classify.folder import Card as Card
from pipelines.classify.folder import check as check
from pipelines.classify.heads import HEADS

SHIPPED: Final = Path(__file__).parent / "shipped"
"""The model that comes with the package; a checkout may lack it."""

POINTER: Final = "current.json"
_REFUSED: Final = "refused.json"
_ADDED: Final = "registry.json"
_LOCK: Final = "registry.lock"
_COPYING: Final = ".adding"

_COPIED: Final = (".json", ".jinja", ".md", ".model", ".png", ".safetensors", ".txt")
_AGAIN: Final = "delete this folder, and add the model again"
_SCORES: Final = ("accuracy", "macro_f1")


class Promotion(Record):
    """A version that was made the current one. `rolled_back_at` is None while it counts as a step to go back to."""

    version: str
    promoted_at: UtcDatetime | None
    rolled_back_at: UtcDatetime | None = None


class Pointer(Record):
    """Which version labels, and how it came to that, the oldest first."""

    current: str
    history: tuple[Promotion, ...]


class Refusal(Record):
    """A version the daemon was to follow and could not use. `kept` is the one that goes on labelling."""

    version: str
    reason: str
    at: UtcDatetime
    kept: str | None


class Entry(Record):
    """A version in the list. `fault` says why it could not be promoted as it lies there.

    `metrics` are named `topic.accuracy`, `sentiment.macro_f1` and so on; empty where the folder has none.
    """

    version: str
    is_current: bool
    is_shipped: bool
    added_at: UtcDatetime | None
    promoted_at: UtcDatetime | None
    metrics: dict[str, float]
    fault: str | None
    refused: Refusal | None


class Moved(NamedTuple):
    """From which version to which the pointer went."""

    before: str | None
    after: str


class Mark(NamedTuple):
    """What tells one state of the pointer file from another, at the price of one stat."""

    modified_ns: int
    inode: int
    bytes: int


class _Added(Record):
    added_at: UtcDatetime
    sha256: str


class Registry:
    """The versions in `folder` and the shipped one. Commands of several processes may work on it at once.

    A version is there whole or not at all, and so is the pointer: whoever reads needs no lock. A version that was
    added goes before a shipped one of the same name.
    """

    def __init__(self, folder: Path, clock: Clock, *, shipped: Path = SHIPPED, patience_s: float = 30.0) -> None:
        self._folder = folder
        self._clock = clock
        self._shipped = shipped
        self._patience_s = patience_s

    def entries(self) -> list[Entry]:
        """Every version, the shipped one first, then as they were added; also one that is current but gone.

        Raises: ModelError, if the pointer cannot be read.
        """
        pointer = self._pointer()
        found = [self._entry(version, pointer) for version in self._versions()]
        if pointer is not None and pointer.current not in {entry.version for entry in found}:
            found.append(self._entry(pointer.current, pointer))
        return sorted(found, key=lambda entry: (not entry.is_shipped, str(entry.added_at), entry.version))

    def current(self) -> str:
        """The version that is to label: the promoted one, else the shipped one.

        Raises: ModelError, if there is neither, or the pointer cannot be read.
        """
        return self.candidates()[0]

    def candidates(self) -> Sequence[str]:
        """The current version, then those to fall back to: the ones before it, the newest first, and the shipped one.

        Raises: ModelError, as `current` does.
        """
        pointer, shipped = self._pointer(), self.shipped()
        steps = [] if pointer is None else [pointer.current, *(step.version for step in reversed(_steps(pointer)))]
        if shipped is not None:
            steps.append(shipped)
        if not steps:
            raise ModelError(
                f"{self._folder}: no model is here and none is shipped; "
                "add one with `monitor models add FOLDER`, then `monitor models promote VERSION`"
            )
        return tuple(dict.fromkeys(steps))

    def shipped(self) -> str | None:
        """The shipped version; None if none is shipped, `shipped` if it does not say which it is."""
        if not self._shipped.is_dir():
            return None
        try:
            version = read(Config, self._shipped / "config.json").monitor.version
        except ModelError:
            return "shipped"
        return version if NAME.fullmatch(version) else "shipped"

    def open(self, version: str) -> Path:
        """The folder of a version, after a look at all of it; its weights are those that were added.

        Raises: ModelError, with what is wrong, or with the versions that exist.
        """
        folder = self._folder_of(version)
        if folder is None:
            known = ", ".join(self._versions()) or "none"
            raise ModelError(f"{self._folder}: no version {version!r}; there are: {known}")
        fault, added = self._look(version, folder)
        if fault is not None:
            raise ModelError(fault)
        if added is not None and added.sha256 != _digest(folder / WEIGHTS):
            raise ModelError(f"{folder}: {WEIGHTS} is not what was added: its SHA-256 differs; {_AGAIN}")
        return folder

    def add(self, source: Path) -> Card:
        """Copies a model folder in, under the version it states. It labels nothing until it is promoted.

        Raises: ModelError, if the folder is broken, cannot be copied, or its version is taken; BusyError.
        """
        card = check(source)
        with self._alone():
            if card.version in self._versions() or (self._folder / card.version).exists():
                raise ModelError(
                    f"{source}: version {card.version!r} is taken; versions never change, "
                    "so set another monitor.version in its config.json"
                )
            copying = self._folder / _COPYING
            try:
                shutil.rmtree(copying, ignore_errors=True)  # of a command that was killed: no other can be at it
                _copy(source, copying)
                if check(copying) != card:
                    raise ModelError(f"{source}: changed while it was copied; try again")
                added = _Added(added_at=self._clock.now(), sha256=_digest(copying / WEIGHTS))
                (copying / _ADDED).write_text(added.model_dump_json(indent=2), encoding="utf-8")
                for path in [*copying.rglob("*"), copying]:
                    _to_disk(path)
                copying.rename(self._folder / card.version)
                _to_disk(self._folder)
            except OSError as error:
                raise ModelError(f"{source}: cannot be copied to {self._folder}: {_why(error)}") from error
            finally:
                shutil.rmtree(copying, ignore_errors=True)
        return card

    def promote(self, version: str) -> Moved:
        """Makes a version the current one. Promoting the current one again has a daemon try it again.

        Raises: ModelError, if there is no such version or it is broken; BusyError.
        """
        with self._alone():
            self.open(version)
            pointer, now = self._pointer(), self._clock.now()
            before = self.shipped() if pointer is None else pointer.current
            # The shipped version was promoted by nobody; but it is where the first step back leads.
            history = pointer.history if pointer else (Promotion(version=before, promoted_at=None),) if before else ()
            if version != before:
                history = (*history, Promotion(version=version, promoted_at=now))
            self.accept(version)
            self._point(Pointer(current=version, history=history))
        return Moved(before, version)

    def rollback(self) -> Moved:
        """Makes the version before the current one the current one.

        Raises: ModelError, if there is none before it, or that one is broken; BusyError.
        """
        with self._alone():
            pointer = self._pointer()
            steps = () if pointer is None else _steps(pointer)
            if pointer is None or len(steps) < 2:
                raise ModelError(f"{self._folder}: no version was current before this one, so there is no way back")
            after, left = steps[-2].version, steps[-1]
            self.open(after)
            undone = left.model_copy(update={"rolled_back_at": self._clock.now()})
            history = tuple(undone if step is left else step for step in pointer.history)
            self.accept(after)
            self._point(Pointer(current=after, history=history))
        return Moved(pointer.current, after)

    def mark(self) -> Mark | None:
        """What the pointer file looks like from outside: another one means that it was written anew. Cheap."""
        try:
            found = (self._folder / POINTER).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # there, but out of reach: which whoever opens it tells
            return Mark(0, 0, -(error.errno or 1))
        return Mark(found.st_mtime_ns, found.st_ino, found.st_size)

    def refused(self) -> Refusal | None:
        """What a daemon last refused, unless it was promoted again since."""
        try:
            return read(Refusal, self._folder / _REFUSED)
        except ModelError:
            return None

    def refuse(self, refusal: Refusal) -> None:
        """Keeps a refusal where the list shows it. Raises: OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _replace(self._folder / _REFUSED, refusal)

    def accept(self, version: str) -> None:
        """Forgets a refusal of this version: it labels. Raises: OSError."""
        refusal = self.refused()
        if refusal is not None and refusal.version == version:
            (self._folder / _REFUSED).unlink(missing_ok=True)

    def _versions(self) -> list[str]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except OSError:  # nothing was ever added
            names = []
        shipped = self.shipped()
        versions = [name for name in names if NAME.fullmatch(name)]
        return versions if shipped is None or shipped in versions else [shipped, *versions]

    def _folder_of(self, version: str) -> Path | None:
        if version not in self._versions():
            return None
        added = self._folder / version
        return added if added.is_dir() else self._shipped

    def _entry(self, version: str, pointer: Pointer | None) -> Entry:
        folder, shipped, refused = self._folder_of(version), self.shipped(), self.refused()
        fault, added = (
            ("promoted, but no longer here; add it again, or promote another", None)
            if folder is None
            else self._look(version, folder)
        )
        steps = () if pointer is None else _steps(pointer)
        return Entry(
            version=version,
            is_current=version == (shipped if pointer is None else pointer.current),
            is_shipped=folder == self._shipped,
            added_at=None if added is None else added.added_at,
            promoted_at=next((step.promoted_at for step in reversed(steps) if step.version == version), None),
            metrics={} if folder is None else _headlines(folder / "metrics.json"),
            fault=fault,
            refused=refused if refused is not None and refused.version == version else None,
        )

    def _look(self, version: str, folder: Path) -> tuple[str | None, _Added | None]:
        """What is wrong with a folder, short of reading its weights, and what is known of its adding."""
        added = None
        try:
            if folder != self._shipped:
                if not (folder / _ADDED).exists():
                    return f"{folder}: lacks {_ADDED}: it was not brought by `monitor models add`; {_AGAIN}", None
                added = read(_Added, folder / _ADDED)
            stated = check(folder).version
        except ModelError as error:
            return str(error), added
        if stated != version:
            return f"{folder}: config.json: monitor.version is {stated!r}; expected {version!r}", added
        return None, added

    def _pointer(self) -> Pointer | None:
        try:
            return None if self.mark() is None else read(Pointer, self._folder / POINTER)
        except ModelError as error:
            raise ModelError(f"{error}; repair it, or delete it to be back at the shipped model") from error

    def _point(self, pointer: Pointer) -> None:
        try:
            _replace(self._folder / POINTER, pointer)
        except OSError as error:
            raise ModelError(f"{self._folder}: cannot write {POINTER}: {_why(error)}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / _LOCK, timeout=self._patience_s)
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"another command works on {self._folder}, and did not end within {self._patience_s:g} s; try later"
            ) from None
        except OSError as error:
            raise ModelError(f"{self._folder}: cannot be written to: {_why(error)}") from error
        try:
            yield
        finally:
            lock.release()


def _steps(pointer: Pointer) -> Sequence[Promotion]:
    return tuple(step for step in pointer.history if step.rolled_back_at is None)


def _headlines(path: Path) -> dict[str, float]:
    """Accuracy and macro F1 of each head, as far as the file has them: they are for show, so none is required."""
    try:
        found = read_object(path)
    except ModelError:
        return {}
    heads = found.get("headline", found)
    scores = {}
    for head in HEADS:
        section = heads.get(head.name) if isinstance(heads, dict) else None
        for name in _SCORES:
            score = section.get(name) if isinstance(section, dict) else None
            if isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score):
                scores[f"{head.name}.{name}"] = float(score)
    return scores


def _copy(source: Path, target: Path) -> None:
    """The bytes alone: weights often come readable by nobody but their owner, who need not be the daemon's user.

    What is not of a kind that a model is made of stays behind: nothing here reads it.
    """
    target.mkdir()
    for path in source.iterdir():
        if path.suffix in _COPIED and not path.name.startswith(".") and not path.is_dir():
            if not path.is_file():  # a pipe would have its reader wait for ever
                raise ModelError(f"{source}: cannot be copied: {path.name} is no file, or leads to none")
            shutil.copyfile(path, target / path.name)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path.parent}: {path.name}: {_why(error)}") from error


def _replace(path: Path, record: Record) -> None:
    """Whoever reads meets the old file or the new one, whenever the power fails."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    _to_disk(new)
    new.replace(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
