"""A classifier that is always the registry's current one: it follows a promotion while it labels."""

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from monitor.clock import Clock
from monitor.domain.labels import Label
from monitor.errors import ModelError
from pipelines.classify.classifier import Classifier
from pipelines.classify.registry import POINTER, Mark, Refusal, Registry

log = structlog.get_logger(__name__)

PROBE: Final = "Bank halts withdrawals"


class _Loaded(NamedTuple):
    version: str
    classifier: Classifier


class _Refused(NamedTuple):
    version: str
    reason: str


class Following:
    """Labels with the registry's current model, and turns to another one when that is promoted.

    Each call first looks whether the pointer was written. If so, the new model is loaded and tried in a thread of its
    own while the old one goes on labelling; the first call after that uses the new one. All labels of one call come
    from one model. A model that cannot be used is refused: logged, shown by `monitor models list`, and not tried again
    until the pointer is written anew; the old one stays.

    `refusal`: what was refused last, since the start; None after a promotion that went well.
    """

    def __init__(self, registry: Registry, load: Callable[[Path], Classifier], clock: Clock) -> None:
        """Loads the current model; if it is broken the one before it, and so on down to the shipped one.

        `load` warms up what it loads, and may raise whatever it likes.
        Raises: ModelError, if no model can be used, with the reason of each.
        """
        self._registry = registry
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.refusal: Refusal | None = None
        self._seen: Mark | None = registry.mark()
        self._active = self._first()

    @property
    def version(self) -> str:
        return self._active.classifier.version

    def label(self, texts: Sequence[str]) -> list[Label]:
        with self._lock:
            self._look()
            classifier = self._active.classifier
        return classifier.label(texts)

    def wait(self) -> None:
        """Returns once no model is being loaded."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Follows no more, once the model that is being loaded is. May be called twice; labelling goes on working."""
        with self._lock:
            self._closed = True
        self.wait()

    def _first(self) -> _Loaded:
        refused: list[_Refused] = []
        for version in self._candidates(refused):
            found = self._try(version)
            if isinstance(found, _Refused):
                refused.append(found)
                continue
            for each in reversed(refused):  # the one that was to label last: that is the one to show
                self._refuse(each, kept=version)
            if not refused:
                self._accept(version)
            log.info("model_loaded", version=version)
            return found
        for each in reversed(refused):
            self._refuse(each, kept=None)
        raise ModelError("no model can be used:\n" + "\n".join(f"  {each.version}: {each.reason}" for each in refused))

    def _candidates(self, refused: list[_Refused]) -> Sequence[str]:
        try:
            return self._registry.candidates()
        except ModelError as error:
            refused.append(_Refused(POINTER, str(error)))
            shipped = self._registry.shipped()
            return () if shipped is None else (shipped,)

    def _look(self) -> None:
        """Starts to load if the pointer was written since it was last seen. Takes one stat; the lock is held."""
        if self._thread is None and not self._closed and self._registry.mark() != self._seen:
            self._thread = threading.Thread(target=self._follow, name="model-loader")
            self._thread.start()

    def _follow(self) -> None:
        """Loads until what was loaded is what the pointer still names: a model rolled back meanwhile never labels."""
        found: _Loaded | _Refused | None = None
        while True:
            seen = self._registry.mark()
            try:
                version = self._registry.current()
            except (ModelError, OSError) as error:
                version, found = POINTER, _Refused(POINTER, str(error))
            else:
                if version == self._active.version:
                    found = None
                elif found is None or isinstance(found, _Refused) or version != found.version:
                    found = self._try(version)
            with self._lock:
                if self._registry.mark() != seen:
                    continue
                self._seen, self._thread = seen, None
                if isinstance(found, _Refused):
                    self._refuse(found, kept=self._active.version)
                    return
                self.refusal = None
                self._accept(version)
                if found is not None:
                    log.info("model_promoted", **{"from": self._active.version, "to": version})
                    self._active = found
                return

    def _try(self, version: str) -> _Loaded | _Refused:
        """The classifier, once it has labelled a text. One made of several models joins their versions with a +."""
        try:
            classifier = self._load(self._registry.open(version))
            (label,) = classifier.label([PROBE])
            stated = classifier.version
            if version not in stated.split("+") or label.model_version != stated:
                told = f"it calls itself {stated!r}, and signs its labels {label.model_version!r}"
                raise ModelError(f"{told}: they could not be traced to it")  # noqa: TRY301
            if not all(map(math.isfinite, (*label.topic.values(), *label.sentiment.values()))):
                raise ModelError("its probabilities are not numbers")  # noqa: TRY301
        except ModelError as error:
            return _Refused(version, str(error))
        except Exception as error:  # noqa: BLE001  foreign files break foreign code in any way; it is logged as a refusal
            return _Refused(version, f"it cannot be loaded: {type(error).__name__}: {error}")
        return _Loaded(version, classifier)

    def _refuse(self, refused: _Refused, *, kept: str | None) -> None:
        log.error("model_refused", version=refused.version, reason=refused.reason, kept=kept)
        self.refusal = Refusal(version=refused.version, reason=refused.reason, at=self._clock.now(), kept=kept)
        try:
            self._registry.refuse(self.refusal)
        except OSError as error:
            log.warning("refusal_not_saved", version=refused.version, error=str(error))

    def _accept(self, version: str) -> None:
        try:
            self._registry.accept(version)
        except OSError as error:
            log.warning("refusal_not_forgotten", version=version, error=str(error))
