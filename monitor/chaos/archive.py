"""The archive that is played: the first items of a given one, or invented ones, the same for the same number."""

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

from monitor.domain.record import utc
from monitor.errors import ConfigError, Mistake

_START = utc(2025, 3, 3)
_DAYS = 4
_INVENTED = 3_000
_BURST_EVERY = timedelta(hours=9)
_BURST = timedelta(minutes=40)
_OUTLETS = ("Ledger", "Harbour Wire", "Northern Desk", "Exchange Post", "Morning Courier")
_NAMES = ("Alder Bank", "Vantor Energy", "Pellon Foods", "Quay Logistics", "Sorrel Mining", "Tamber Air")
_GOOD = "{name} profit beats forecasts as growth accelerates, note {n}"
_PLAIN = "{name} names a date for its shareholder meeting, note {n}"
_FOREIGN = "Das Unternehmen {name} veröffentlicht heute seinen Bericht über das abgelaufene Geschäftsjahr, Seite {n}"
_BAD = (
    "{name} shares plunge after heavy losses and default fears, note {n}",
    "Fraud investigation into {name}: lawsuit and bankruptcy feared, note {n}",
    "Fed warns of recession as inflation crisis hits {name}, note {n}",
)


def write(path: Path, given: Path | None, items: int | None) -> int:
    """Writes the first items of an archive, or all, or invented ones; returns how many there are.

    Raises: ConfigError, if the archive cannot be read, or holds nothing.
    """
    lines = _invented(items or _INVENTED) if given is None else islice(_lines(given), items)
    count = 0
    try:
        with path.open("wb") as out:
            for line in lines:
                out.write(line.rstrip(b"\r\n") + b"\n")
                count += 1
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError("command line", [Mistake("FILE", f"cannot be read: {error}")]) from error
    if not count:
        raise ConfigError("command line", [Mistake("FILE", f"expected an archive; {given} holds nothing")])
    return count


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file, gzip.open(file) if path.suffix == ".gz" else file as lines:
        yield from (line for line in lines if line.strip())


def _invented(items: int) -> Iterator[bytes]:
    """News of four days, with bursts of bad news, copies, foreign languages and lines that nobody can read."""
    chance = random.Random(20250303)
    step = timedelta(days=_DAYS) / max(1, items)
    lines: list[bytes] = []
    for number in range(items):
        moment = _START + number * step
        what = chance.random()
        if what < 0.02:
            line = b'{"title": "cut off'
        elif what < 0.03:
            line = json.dumps({"title": "<b></b>", "source": chance.choice(_OUTLETS), "id": number}).encode()
        elif what < 0.07 and lines:
            line = chance.choice(lines[-50:])
        else:
            in_burst = (moment - _START) % _BURST_EVERY < _BURST
            kinds = (_BAD[number % 3], _GOOD, _PLAIN, _FOREIGN)
            text = chance.choices(kinds, (9, 1, 1, 1) if in_burst else (1, 5, 5, 2))[0]
            line = json.dumps(
                {
                    "date_published": moment.isoformat(),
                    "source": chance.choice(_OUTLETS),
                    "title": text.format(name=chance.choice(_NAMES), n=number),
                    "link": f"https://news.example/{number}",
                }
            ).encode()
        lines.append(line)
        yield line
