"""The folder of a daemon, and which process may run which stage on it."""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from monitor.errors import BusyError, ConfigError, Mistake


def make_data_dir(path: Path) -> None:
    """Raises: ConfigError, if the folder cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(str(path), [Mistake("data_dir", f"cannot make this folder: {error.strerror}")]) from error


@contextlib.contextmanager
def claim(data_dir: Path, stages: Collection[str]) -> Iterator[None]:
    """Holds the right to run these stages on this folder; the system takes it back when the process dies.

    Raises: BusyError, naming the process that holds it.
    """
    folder = data_dir / "locks"
    make_data_dir(folder)
    with contextlib.ExitStack() as held:
        for stage in stages:
            owner = folder / f"{stage}.pid"
            try:
                held.enter_context(FileLock(folder / f"{stage}.lock", timeout=0))
            except Timeout:
                pid = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
                raise BusyError(
                    f"{stage} already runs on {data_dir} (process {pid}); stop that process, or set another data_dir"
                ) from None
            with contextlib.suppress(OSError):  # for the text above only: a full disk is told of later, by who needs it
                owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
