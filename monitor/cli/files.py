"""Text files as commands take them."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO, cast


@contextmanager
def opened(file: Path, *, errors: str = "strict", newline: str = "\n") -> Iterator[TextIO]:
    """The file, or standard input for "-"; compressed or not. Pipes can be read once only: so nothing is reopened.

    Raises: OSError, if it cannot be opened; while it is read, what gzip and the decoder raise.
    """
    with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
        raw = cast("BufferedReader", source)
        plain = cast("BufferedReader", gzip.open(raw)) if raw.peek(2).startswith(b"\x1f\x8b") else raw  # noqa: SIM115
        # "-sig": a byte order mark is no part of the first text.
        with TextIOWrapper(plain, encoding="utf-8-sig", errors=errors, newline=newline) as text:
            yield text
