"""Labelled pairs of articles: how many same stories are found, and how many of those found are the same."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.stories.clusters import Stories

DATA = Path(__file__).parents[2] / "data"
SETS = (DATA / "story_pairs.jsonl", DATA / "story_pairs_2.jsonl")


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    """Those of all sets together."""
    for path in SETS:
        if not path.exists():
            pytest.skip(f"{path.name} is not there")
    return [json.loads(line) for path in SETS for line in path.read_text(encoding="utf-8").splitlines()]


def joined(pair: dict[str, Any], *, turned: bool = False) -> bool:
    """Whether a fresh instance, fed with both, says one story. `turned`: the second with the first one's time."""
    stories = Stories(capacity=64)
    first, second = sorted((pair["a"], pair["b"]), key=lambda article: str(article["published_at"]))
    times = [datetime.fromisoformat(article["published_at"]) for article in (first, second)]
    if turned:
        first, second = second, first
    ids = [
        stories.assign(f"{number:032x}", article["title"], article["summary"], at)
        for number, (article, at) in enumerate(zip((first, second), times, strict=True))
    ]
    return ids[0] == ids[1]


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned round"])
def test_pairs_are_joined_precisely_and_seldom_missed(pairs: list[dict[str, Any]], *, turned: bool) -> None:
    found = [(pair["kind"] == "same", joined(pair, turned=turned)) for pair in pairs]
    hits = sum(same and one for same, one in found)
    precision, recall = hits / sum(one for _, one in found), hits / sum(same for same, _ in found)
    assert len(pairs) >= 500
    assert precision >= 0.98
    assert recall >= 0.90


def test_no_title_occurs_in_two_pairs(pairs: list[dict[str, Any]]) -> None:
    titles = [title for pair in pairs for title in {pair["a"]["title"], pair["b"]["title"]}]
    assert len(titles) == len(set(titles))
