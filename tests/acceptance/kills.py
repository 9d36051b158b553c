"""Plays an archive again and again, killed at random moments, until so many kills are reached.

By hand: python -m tests.acceptance.kills ARCHIVE [KILLS [SEED]]
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.command import Workplace

_DEAD_LETTERS = "SELECT id, stage, stream, key, value, reason, detail FROM dead_letter ORDER BY id"
_SPIKES = "SELECT id FROM spike ORDER BY id"
_SPIKE_EVIDENCE = "SELECT id, observed, total, score, severity FROM spike ORDER BY id"


class Outcome(NamedTuple):
    """What a replay leaves that must not depend on how it went."""

    facts: dict[str, list[tuple[Any, ...]]]
    dead_letters: list[tuple[Any, ...]]
    spikes: list[tuple[Any, ...]]

    def differences(self, other: "Outcome") -> list[str]:
        """What differs, by name."""
        found = [name for name, rows in self.facts.items() if rows != other.facts[name]]
        found += ["dead letters"] if self.dead_letters != other.dead_letters else []
        return found + (["spikes"] if self.spikes != other.spikes else [])


class Trial(NamedTuple):
    """How it went. `differences`: one list per folder that was played to its end."""

    kills: int
    rounds: int
    differences: list[list[str]]
    undisturbed_s: float
    evidence: list[list[tuple[Any, ...]]]


def outcome(place: Workplace) -> Outcome:
    return Outcome(place.dump(), place.rows(_DEAD_LETTERS), place.rows(_SPIKES))


def trial(folder: Path, archive: Path, kills: int, seed: int, config: str = "") -> Trial:
    """Each round starts on an empty folder, is killed at random moments and restarted until it ends."""
    moments = random.Random(seed)
    began = time.monotonic()
    calm = Workplace(folder / "undisturbed", config)
    ended = calm.run("replay", str(archive), "--json", limit_s=600)
    assert ended.code == 0, ended
    undisturbed_s = time.monotonic() - began
    expected = outcome(calm)
    killed = rounds = 0
    differences: list[list[str]] = []
    evidence = [calm.rows(_SPIKE_EVIDENCE)]
    while killed < kills:
        place = Workplace(folder / f"killed-{rounds}", config)
        rounds += 1
        while killed < kills and _killed(place, archive, moments.uniform(0, undisturbed_s)):
            killed += 1
        ended = place.run("replay", str(archive), "--json", limit_s=600)
        assert ended.code == 0, ended
        differences.append(outcome(place).differences(expected))
        evidence.append(place.rows(_SPIKE_EVIDENCE))
    return Trial(killed, rounds, differences, undisturbed_s, evidence)


def _killed(place: Workplace, archive: Path, after_s: float) -> bool:
    """Plays the archive for so long; False if it ended before."""
    with (place.folder / "killed.log").open("ab") as log:
        process = subprocess.Popen(place.line("replay", str(archive)), stdout=log, stderr=log)
        try:
            code = process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
    assert code == 0, (place.folder / "killed.log").read_text()
    return False


def _main(archive: str, kills: str = "20", seed: str = "1") -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = trial(Path(folder), Path(archive).resolve(), int(kills), int(seed))
    lines = [
        f"{found.kills} kills in {found.rounds} folders, {time.monotonic() - began:.0f} s;"
        f" one undisturbed replay {found.undisturbed_s:.1f} s",
        *(
            f"folder {number}: {'differs in ' + ', '.join(differing) if differing else 'equal'}"
            for number, differing in enumerate(found.differences)
        ),
        *(str(rows) for rows in found.evidence),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
