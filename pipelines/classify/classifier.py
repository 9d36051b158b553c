"""What labels texts."""

from collections.abc import Sequence
from typing import Protocol

from monitor.domain.labels import Label


class Classifier(Protocol):
    """Labels texts with topic and sentiment. Knows nothing of articles, streams or time.

    `version` names the model and its weights; it is stored with every label.
    """

    @property
    def version(self) -> str: ...

    def label(self, texts: Sequence[str]) -> list[Label]:
        """One label per text, in order; a text's label does not depend on its neighbours. Runs in a worker thread."""
        ...
