"""What assigning an article to its story costs, with ten thousand to a million articles within the horizon."""

import gc
import importlib.util
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from pipelines.stories.clusters import Stories

log = structlog.get_logger(__name__)

HORIZON: Final = timedelta(hours=48)
ROUNDS: Final = 7
_PER_ROUND: Final = 400
_RIVAL: Final = 5_000  # articles the plain index is timed on: it slows down and grows as it fills
_START: Final = datetime(2026, 1, 5, tzinfo=UTC)
_TEMPLATES: Final = (
    "{name} plc: Holding(s) in Company",
    "{name} Reports {quarter} Quarter Results",
    "{name} Net Asset Value(s)",
    "Fitch Affirms {name} at 'BBB'; Outlook Stable",
    "Law firm reminds investors of {name} of the deadline in class action",
)
_MARKS: Final = ("UPDATE 1-", "UPDATE 2-", "RPT-", "CORRECTED-", "BREAKING: ", "")
_SYLLABLES: Final = [first + vowel for first in "bcdfgklmnprstv" for vowel in "aeio"]

Item = tuple[str, str, str, datetime]


def measure(counts: Sequence[int] = (10_000, 100_000, 1_000_000), seed: int = 7) -> dict[str, Any]:
    """Every figure of one run: the same index is filled from one count to the next.

    Units: microseconds of the processor, median and extremes over rounds of 400 articles beyond the fill, and on the
           wall beside it; memory by which the process grew in MiB and per article in bytes, tables included.
    """
    largest = max(counts)
    at_start = _resident()
    stories = Stories(HORIZON, capacity=largest)
    step = HORIZON * 0.9 / (largest + ROUNDS * _PER_ROUND * len(counts))
    items = synthetic(seed, step)
    fills = []
    for count in sorted(counts):
        while len(stories) < count:
            stories.assign(*next(items))
        gc.collect()
        cpu, wall = [], []
        for _ in range(ROUNDS):
            batch = [next(items) for _ in range(_PER_ROUND)]
            started, used = time.perf_counter(), time.process_time()
            for item in batch:
                stories.assign(*item)
            cpu.append((time.process_time() - used) / _PER_ROUND * 1e6)
            wall.append((time.perf_counter() - started) / _PER_ROUND * 1e6)
        grown = _resident() - at_start
        fills.append(
            {
                "articles": len(stories),
                "us_per_article": round(statistics.median(cpu), 1),
                "us_least": round(min(cpu), 1),
                "us_most": round(max(cpu), 1),
                "us_wall": round(statistics.median(wall), 1),
                "process_grew_mib": round(grown / 2**20, 1),
                "bytes_per_article": round(grown / len(stories)),
            }
        )
        log.info("bench_fill", **fills[-1])
    found: dict[str, Any] = {"seed": seed, "tables_mib": round(stories.tables_bytes / 2**20, 1), "fills": fills}
    if importlib.util.find_spec("datasketch") is not None:
        found["datasketch.MinHashLSH"] = _rival(seed)
    return found


def synthetic(seed: int, step: timedelta) -> Iterator[Item]:
    """Articles without end: news, templates of filings, copies and edited copies of what came before.

    Of a hundred, about 65 are news of their own, 20 follow a template with another name, 15 repeat an earlier one.
    """
    random_ = random.Random(seed)
    common = ["".join(random_.choices(_SYLLABLES, k=random_.randint(2, 4))) for _ in range(20_000)]
    heavy = [1 / (rank + 10) for rank in range(len(common))]
    names = ["".join(random_.choices(_SYLLABLES, k=3)).capitalize() for _ in range(30_000)]
    recent: list[tuple[str, str]] = []
    pool: list[str] = []
    number = 0
    while True:
        if len(pool) < 64:
            pool = random_.choices(common, heavy, k=8192)
        kind = random_.random()
        if kind < 0.65 or not recent:
            title = f"{random_.choice(names)} {' '.join(pool.pop() for _ in range(random_.randint(5, 9)))}"
            summary = f"{random_.choice(names)} {' '.join(pool.pop() for _ in range(random_.randint(8, 28)))}."
        elif kind < 0.85:
            title = random_.choice(_TEMPLATES).format(
                name=f"{random_.choice(names)} {random_.choice(names)}", quarter=random_.choice(("First", "Second"))
            )
            summary = ""
        else:
            title, summary = random_.choice(recent)
            title = random_.choice(_MARKS) + title
            summary = summary[: random_.choice((60, 120, 400))]
        if len(recent) < 2000:
            recent.append((title, summary))
        else:
            recent[random_.randrange(2000)] = (title, summary)
        number += 1
        yield f"{number:032x}", title, summary, _START + step * number


def _rival(seed: int) -> dict[str, Any]:
    """datasketch's index over the same titles and summaries, asked and then filled, as its documentation shows it."""
    from datasketch import MinHash, MinHashLSH

    items = synthetic(seed, timedelta(seconds=1))
    batch = [next(items) for _ in range(_RIVAL)]
    gc.collect()
    index = MinHashLSH(threshold=0.6, num_perm=72)
    start = time.process_time()
    resident = _resident()
    for article_id, title, summary, _ in batch:
        sketch = MinHash(num_perm=72)
        sketch.update_batch([word.encode() for word in f"{title} {summary}".casefold().split()])
        index.query(sketch)
        index.insert(article_id, sketch)
    took = time.process_time() - start
    return {
        "articles": _RIVAL,
        "us_per_article": round(took / _RIVAL * 1e6, 1),
        "bytes_per_article": round(max(0, _resident() - resident) / _RIVAL),
        "note": "one channel, no comparison of words, nothing forgotten",
    }


def _resident() -> int:
    """Bytes this process holds in memory; 0 where the system does not tell."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * 4096
