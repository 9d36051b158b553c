"""The classifier made of transformers: which model answers what, and following the registry."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.clock import SystemClock
from monitor.domain.labels import Sentiment, Topic
from monitor.errors import ModelError
from pipelines.classify.classifier import ClassifierDeps
from pipelines.classify.models.transformer import Config, assemble, build
from pipelines.classify.registry import Registry
from tests.tiny import make_tiny

TEXTS = ["Bank falls", "Profit rises", "", "x" * 10_000]
SENTIMENTS = {0: "positive", 1: "negative", 2: "neutral"}


@pytest.fixture
def deps(tmp_path: Path) -> ClassifierDeps:
    return ClassifierDeps(tmp_path / "models", SystemClock())


def config(**given: object) -> Config:
    return Config.model_validate({"device": "cpu", "precision": "fp32", **given})


def test_a_label_is_two_distributions_and_a_version(tmp_path: Path, deps: ClassifierDeps) -> None:
    classifier = build(config(model=str(make_tiny(tmp_path / "tiny"))), deps)
    labels = classifier.label(TEXTS)
    assert len(labels) == len(TEXTS)
    for label in labels:
        assert set(label.topic) == set(Topic)
        assert set(label.sentiment) == set(Sentiment)
        assert label.model_version == classifier.version == "tiny-1"


def test_one_head_may_be_answered_by_another_model(tmp_path: Path, deps: ClassifierDeps) -> None:
    own = str(make_tiny(tmp_path / "tiny"))
    other = str(make_tiny(tmp_path / "finbert", labels=SENTIMENTS, ours=False, seed=5))
    both = build(config(model=own, sentiment_model=other), deps).label(TEXTS)
    alone = build(config(model=own), deps).label(TEXTS)
    assert [label.topic for label in both] == [label.topic for label in alone]
    assert [label.sentiment for label in both] != [label.sentiment for label in alone]
    assert both[0].model_version == "tiny-1+finbert"


def test_a_model_that_lacks_a_head_is_refused_with_what_to_set(tmp_path: Path) -> None:
    half = make_tiny(tmp_path / "finbert", labels=SENTIMENTS, ours=False)
    with pytest.raises(ModelError, match="does not say topic; set topic_model"):
        assemble(config(), half)


def test_without_a_name_it_follows_the_registry(tmp_path: Path, deps: ClassifierDeps) -> None:
    registry = Registry(deps.models, deps.clock)
    for version, seed in (("first", 1), ("second", 2)):
        registry.add(make_tiny(tmp_path / version, version, seed=seed))
    registry.promote("first")
    classifier = build(config(), deps)
    before = classifier.label(TEXTS)
    registry.promote("second")
    during = classifier.label(TEXTS)
    classifier.wait()  # type: ignore[attr-defined]
    after = classifier.label(TEXTS)
    assert {label.model_version for label in before + during} == {"first"}
    assert {label.model_version for label in after} == {"second"}
    assert len(after) == len(TEXTS)


def test_settings_out_of_bounds_are_refused() -> None:
    for wrong in ({"threads": -1}, {"device": "tpu"}, {"precision": "fp8"}, {"max_batch_tokens": -5}, {"modell": "x"}):
        with pytest.raises(ValidationError):
            config(**wrong)
