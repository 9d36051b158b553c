"""More articles than classify carries: what that does to the lag, and to the memory of each process."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from monitor import app
from monitor.bus.bus import Message
from monitor.bus.streams import Group, Stream
from monitor.clock import SystemClock
from monitor.domain.article import Article
from monitor.domain.record import encode, fingerprint
from tests.acceptance.stand import Stand, resident_mb, serving
from tests.brokers import broker
from tests.factories import make_article
from tests.postgres import Server

CARRIED_PER_S, FED_PER_S = 80, 400

_LOOK_S = 0.5
_PUT_S = 0.1
_DRAIN_LIMIT_S = 900.0

# Found by the interpreter at its start. What it slows down is the classifier, to a rate that does not depend on the
# machine, for as long as the file BRAKE is there.
_BRAKE = """
import os
import time
from pipelines.classify.models.lexicon import Lexicon

label = Lexicon.label

def slowly(self, texts):
    if os.path.exists(os.environ["BRAKE"]):
        time.sleep(len(texts) / float(os.environ["BRAKE_PER_S"]))
    return label(self, texts)

Lexicon.label = slowly
"""


def overload_trial(folder: Path, seconds: float, postgres: Server, *, quick: bool = False) -> dict[str, Any]:
    """For so long five times as many articles are published as classify carries; then it may work as fast as it can.

    They are put on the bus directly, so that their rate is known: ingest does not run. Memory is looked at twice a
    second from a tenth of that time on, until the last article is stored.
    """
    folder.mkdir(exist_ok=True)
    brake = folder / "brake"
    brake.touch()
    (folder / "sitecustomize.py").write_text(_BRAKE, encoding="utf-8")
    slow = {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "BRAKE": str(brake),
        "BRAKE_PER_S": str(CARRIED_PER_S),
        "MONITOR_CLASSIFY__MAX_BATCH": str(CARRIED_PER_S),
    }
    with (
        broker() as bootstrap,
        serving(folder, postgres, bootstrap, quick=quick, environments={"classify": slow}, without={"ingest"}) as stand,
    ):
        marks = stand.marks()
        measured = asyncio.run(_Overload(stand).run(seconds, brake))
        return {**measured, **stand.finish(marks)}


class _Overload:
    """Units: `lags` seconds since the start, and messages; `memory` MB."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._began = time.monotonic()
        self._warm_at_s = 0.0
        self._lags: list[tuple[float, int]] = []
        self._memory: dict[str, list[float]] = {name: [] for name in stand.running}

    @property
    def _at_s(self) -> float:
        return time.monotonic() - self._began

    async def run(self, seconds: float, brake: Path) -> dict[str, Any]:
        self._warm_at_s = seconds / 10
        async with app.open_core(self._stand.settings(), SystemClock()) as core:
            self._began = time.monotonic()
            feeding = asyncio.create_task(self._feed(core, seconds))
            while not feeding.done():
                await self._look(core)
                await asyncio.sleep(_LOOK_S)
            await feeding
            fed_s, fed, lag = self._at_s, len(self._stand.published), await self._look(core)
            carried = await _stored(core)
            await asyncio.to_thread(brake.unlink)
            while await self._look(core) or await _stored(core) < fed:
                assert self._at_s < fed_s + _DRAIN_LIMIT_S, f"not drained: {self._lags[-1]}"
                await asyncio.sleep(_LOOK_S)
        every = max(1, len(self._lags) // 20)
        return {
            "fed_s": round(fed_s, 1),
            "fed_per_s": round(fed / fed_s, 1),
            "carried_per_s": round(carried / fed_s, 1),
            "lag_when_feeding_ends": lag,
            "drained_after_s": round(self._at_s - fed_s, 1),
            "lag_at_s": [*self._lags[:-1:every], self._lags[-1]],
            "memory_mb": {
                name: {
                    "least": round(min(seen), 1),
                    "most": round(max(seen), 1),
                    "grown_by": round(max(seen) - min(seen), 1),
                    "looks": len(seen),
                }
                for name, seen in self._memory.items()
            },
        }

    async def _feed(self, core: app.Core, seconds: float) -> None:
        published = self._stand.published
        while (at_s := self._at_s) < seconds:
            articles = [_article(number) for number in range(len(published), int(at_s * FED_PER_S))]
            await core.bus.publish(Stream.ARTICLES, [Message(article.id, encode(article)) for article in articles])
            published += [article.title for article in articles]
            await asyncio.sleep(_PUT_S)

    async def _look(self, core: app.Core) -> int:
        """What waits on the bus."""
        assert not self._stand.dead(), self._stand.dead()
        waiting = await core.bus.lag(Group.CLASSIFY) + await core.bus.lag(Group.AGGREGATE)
        self._lags.append((round(self._at_s, 1), waiting))
        if self._at_s > self._warm_at_s:
            for name, daemon in self._stand.running.items():
                self._memory[name].append(resident_mb(daemon.process.pid))
        return waiting


async def _stored(core: app.Core) -> int:
    return (await core.store.articles.totals())["articles"]


def _article(number: int) -> Article:
    title = f"Kestrel Capital to hold its annual meeting in hall {number}"
    now = SystemClock().now()
    return make_article(
        id=fingerprint("overload", title),
        title=title,
        summary="Shareholders will vote on the agenda, the company said in a notice to the exchange. " * 4,
        url=None,
        published_at=now,
        fetched_at=now,
    )
