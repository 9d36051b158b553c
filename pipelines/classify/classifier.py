"""What labels texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitor.clock import Clock
from monitor.domain.labels import Label


@dataclass(frozen=True, slots=True)
class ClassifierDeps:
    """What a classifier may need: the folder of the model registry, and the time."""

    models: Path
    clock: Clock


class Classifier(Protocol):
    """Labels texts with topic and sentiment. Knows nothing of articles, streams or time.

    `version` names the model and its weights; it is stored with every label.
    """

    @property
    def version(self) -> str: ...

    def label(self, texts: Sequence[str]) -> list[Label]:
        """One label per text, in order; a text's label does not depend on its neighbours. Runs in a worker thread."""
        ...

    def close(self) -> None:
        """Ends what works besides the calls. May be called twice."""
        ...
