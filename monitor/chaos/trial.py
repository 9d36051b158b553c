"""Plays an archive undisturbed, then again and again with processes killed at random, and compares."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from monitor import app
from monitor.bus.bus import Bus
from monitor.bus.streams import Group
from monitor.chaos.outcome import Compared, Outcome, compare, digest
from monitor.chaos.processes import Process
from monitor.chaos.scene import STAGES, Scene, scene, session_s
from monitor.chaos.servers import Servers
from monitor.errors import ChaosError

Say = Callable[[str], None]

# Beside the kills: how often a copy is asked to stop, or kept from running for longer than the group waits for it.
_MILDER = 0.3
_LEAST_PAUSE_S = 0.2
_LOOK_S = 0.1
_QUIET_S = 2.0
_JOIN_S = 60.0
_EVERYTHING = 1_000_000_000


class Trial(NamedTuple):
    """How it went.

    `rounds`: times that the archive was played to its end, on tables and streams of their own; one comparison each.
    `slowest_stop_s`: the longest that a copy took from being asked to stop to its end.
    """

    items: int
    copies: int
    kills: int
    killed: dict[str, int]
    stops: int
    freezes: int
    slowest_stop_s: float
    rounds: int
    repeated_deliveries: int
    contradicted_deliveries: int
    undisturbed_s: float
    disturbed_s: float
    expected_hash: str
    hashes: list[str]
    compared: list[list[Compared]]

    @property
    def equal(self) -> bool:
        return not self.contradicted_deliveries and all(part.equal for parts in self.compared for part in parts)


class _Hand:
    """What disturbs, and counts it."""

    def __init__(self, chance: random.Random, kills: int, longest_pause_s: float, silence_s: float, say: Say) -> None:
        self.left = kills
        self.killed: Counter[str] = Counter()
        self.stops = self.freezes = 0
        self.slowest_stop_s = 0.0
        self._chance = chance
        self._longest_pause_s = longest_pause_s
        self._silence_s = silence_s
        self._say = say

    def disturb(self, run: Scene) -> None:
        """Until the archive has been played, or there is nothing left to do."""
        while self.left and not run.run_on(time.monotonic() + self._pause_s()):
            if run.stages and self._chance.random() < _MILDER:
                self._shake(run, self._chance.choice(run.stages))
            else:
                # The process that holds the archive's clock is one, the copies are many.
                self._kill(self._chance.choice(self._chance.choice(run.victims)))

    def _pause_s(self) -> float:
        return max(_LEAST_PAUSE_S, self._chance.uniform(0, self._longest_pause_s))

    def _kill(self, victim: Process) -> None:
        if victim.ended() is not None:
            return  # the archive has just come to its end
        victim.kill()
        self.left -= 1
        self.killed[victim.name] += 1
        self._say(f"killed {victim.name}")
        victim.start()

    def _shake(self, run: Scene, victim: Process) -> None:
        """A rebalance: the others take over from a copy that stops, or is silent for too long and comes back."""
        if self._chance.random() < 0.5:
            self._say(f"asked {victim.name} to stop")
            self.slowest_stop_s = max(self.slowest_stop_s, victim.stop())
            self.stops += 1
            victim.start()
        else:
            self._say(f"froze {victim.name} for {self._silence_s:g} s")
            self.freezes += 1
            victim.freeze()
            try:
                run.run_on(time.monotonic() + self._silence_s)
            finally:
                victim.thaw()


def trial(
    folder: Path, archive: Path, items: int, servers: Servers | None, *, copies: int, kills: int, seed: int, say: Say
) -> Trial:
    """Each round starts on nothing, and is disturbed and repaired until the archive has been played.

    Raises: ChaosError, if a process ends by itself.
    """
    expected, undisturbed_s, repeated, contradicted = _undisturbed(folder, archive, servers, copies)
    say(f"undisturbed: {undisturbed_s:.1f} s, {digest(expected)}")
    silence_s = 2 * session_s(servers) if servers is not None else 0.0
    # So that a process, killed at random, mostly gets some way before it is its turn again.
    longest_pause_s = undisturbed_s / (1 + len(STAGES) * copies)
    hand = _Hand(random.Random(seed), kills, longest_pause_s, silence_s, say)
    began = time.monotonic()
    hashes: list[str] = []
    compared: list[list[Compared]] = []
    while hand.left:
        with scene(folder, f"disturbed-{len(hashes)}", archive, servers, copies=copies) as run:
            run.start()
            hand.disturb(run)
            run.run_on()
            found = run.outcome()
            repeated += run.receiver.repeated
            contradicted += len(run.receiver.contradicted)
        hashes.append(digest(found))
        compared.append(compare(expected, found))
        say(f"round {len(hashes)}: {hashes[-1]}")
    return Trial(
        items=items,
        copies=copies if servers is not None else 1,
        kills=hand.killed.total(),
        killed=dict(sorted(hand.killed.items())),
        stops=hand.stops,
        freezes=hand.freezes,
        slowest_stop_s=hand.slowest_stop_s,
        rounds=len(hashes),
        repeated_deliveries=repeated,
        contradicted_deliveries=contradicted,
        undisturbed_s=undisturbed_s,
        disturbed_s=time.monotonic() - began,
        expected_hash=digest(expected),
        hashes=hashes,
        compared=compared,
    )


def _undisturbed(folder: Path, archive: Path, servers: Servers | None, copies: int) -> tuple[Outcome, float, int, int]:
    with scene(folder, "undisturbed", archive, servers, copies=copies) as run:
        began = time.monotonic()
        run.start()
        run.run_on()
        took_s = time.monotonic() - began
        return run.outcome(), took_s, run.receiver.repeated, len(run.receiver.contradicted)


class Copies(NamedTuple):
    """One run with so many copies of classify and of aggregate.

    Units: `articles_per_s` from when the first articles were labelled until all were counted, with all of them on the
        bus before, and all copies started and frozen meanwhile; that they find together again is part of it. `took_s`
        the whole run.
    """

    copies: int
    articles: int
    articles_per_s: float
    took_s: float
    hash: str
    compared: list[Compared]


def by_copies(folder: Path, archive: Path, servers: Servers, counts: Sequence[int], say: Say) -> list[Copies]:
    """The same archive with each number of copies; all compared with the first."""
    found: list[Copies] = []
    expected: Outcome = {}
    for count in counts:
        with scene(folder, f"copies-{count}", archive, servers, copies=count, ahead=_EVERYTHING) as run:
            began = time.monotonic()
            for process in run.stages:
                process.start()
            _wait_for_members(run)
            for process in run.stages:
                process.freeze()
            run.replay.start()
            articles, counting_s = asyncio.run(_count_all(run))
            run.run_on()
            took_s = time.monotonic() - began
            outcome = run.outcome()
        expected = expected or outcome
        found.append(
            Copies(count, articles, articles / counting_s, took_s, digest(outcome), compare(expected, outcome))
        )
        say(f"{count} copies: {articles / counting_s:.0f} articles/s, {digest(outcome)}")
    return found


def _wait_for_members(run: Scene) -> None:
    """Raises: ChaosError, if a copy does not join its group."""
    deadline = time.monotonic() + _JOIN_S
    while late := [process.name for process in run.stages if not process.logged("partitions_assigned")]:
        run.look()
        if time.monotonic() > deadline:
            raise ChaosError(f"no partitions after {_JOIN_S:g} s: {', '.join(late)}")
        time.sleep(_LOOK_S)


async def _count_all(run: Scene) -> tuple[int, float]:
    """Thaws the copies once everything is on the bus; how many articles that was, and how many seconds they took."""
    bus = await app.open_bus(run.settings)
    try:
        articles = await _settled_lag(run, bus)
        for process in run.stages:
            process.thaw()
        began = 0.0
        while await bus.lag(Group.CLASSIFY) or await bus.lag(Group.AGGREGATE):
            if not began and await bus.lag(Group.CLASSIFY) < articles:
                began = time.monotonic()
            run.look()
            await asyncio.sleep(_LOOK_S)
        return articles, time.monotonic() - began
    finally:
        await bus.aclose()


async def _settled_lag(run: Scene, bus: Bus) -> int:
    """What waits for classify once nothing more comes."""
    articles, since = 0, time.monotonic()
    while not articles or time.monotonic() - since < _QUIET_S:
        run.look()
        if (waiting := await bus.lag(Group.CLASSIFY)) != articles:
            articles, since = waiting, time.monotonic()
        await asyncio.sleep(_LOOK_S)
    return articles
