"""An archive whose replay is killed again and again ends as if nothing had happened.

MONITOR_TEST_KILLS sets how many kills, MONITOR_TEST_KILL_ARCHIVE of which archive; see also `kills.py`.
"""

import os
from pathlib import Path

from tests.acceptance import archive
from tests.acceptance.kills import trial

KILLS = int(os.environ.get("MONITOR_TEST_KILLS", "5"))


def test_killed_at_random_moments_the_outcome_is_the_same(tmp_path: Path) -> None:
    given = os.environ.get("MONITOR_TEST_KILL_ARCHIVE")
    played = Path(given).resolve() if given else archive.make(700, seed=11).write(tmp_path / "archive.jsonl.gz")
    found = trial(tmp_path, played, KILLS, seed=5)
    assert found.kills == KILLS
    assert found.differences == [[] for _ in range(found.rounds)]
    assert found.evidence[0], "an archive without spikes would prove less"
