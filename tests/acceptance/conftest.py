"""The daemon is tested with the classifier that starts at once; the shipped model has tests of its own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_classifier() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONITOR_CLASSIFIER__KIND", "lexicon")
        yield
