"""From labelled files to a model folder, with a tiny encoder."""

import json
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from monitor.domain.labels import Sentiment, Topic
from monitor.errors import DatasetError, ModelError
from pipelines.classify.folder import check
from pipelines.classify.heads import HEADS, SENTIMENT, TOPIC
from pipelines.classify.models._network import AGREEMENT, Network
from pipelines.training import card
from pipelines.training import job as jobs
from pipelines.training.job import Job, joined, merged, pieces, run
from pipelines.training.rows import File, Row
from pipelines.training.train import CHECKPOINTS, UNLABELLED, Loss, Recipe, class_weights, unweigh
from tests.tiny import make_tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # the trainer's loader and autocast warn of what is not there
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NOUNS = ("bank", "profit", "oil", "gas", "loan", "deal", "yen", "court", "steel", "rail")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rng = random.Random(1)
    for head, good, bad in (("topic", "Dividend", "Macro"), ("sentiment", "Bullish", "Bearish")):
        lines = ["text,label"]
        for number in range(60):
            nouns = " ".join(rng.sample(NOUNS, 3))
            up = number % 2 == 0
            lines.append(f"{nouns} {'rises' if up else 'falls'} {number},{good if up else bad}")
        (tmp_path / f"{head}.csv").write_text("\n".join(lines))
    recipe = Recipe(
        base=str(make_tiny(tmp_path / "base", ours=False, spread=0.1)),
        epochs=2,
        batch=16,
        learning_rate=3e-3,
        max_tokens=32,
    )
    return Job(
        version="t-1",
        training=[File(str(tmp_path / "topic.csv"), "topic"), File(str(tmp_path / "sentiment.csv"), "sentiment")],
        recipe=recipe,
        output=tmp_path / "out",
        today=date(2026, 1, 2),
        holdout=0.2,
        newswire=10,
        joined=5,
    )


def test_a_run_leaves_a_folder_that_the_registry_takes_and_that_answers(job: Job) -> None:
    folder = run(replace(job, newswire=0, recipe=replace(job.recipe, epochs=24, patience=24)))
    stated = check(folder)
    assert (stated.version, stated.max_tokens) == ("t-1", 32)
    assert {path.name for path in folder.iterdir()} >= {
        "MODEL_CARD.md", "metrics.json", "classification_report.txt", "confusion_topic.png", "reliability_topic.png",
        "words.json",
    }  # fmt: skip
    assert not (folder / CHECKPOINTS).exists()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["headline"]["sentiment"]["accuracy"] > 0.8
    network = Network.load(folder, device="cpu", precision="fp32", threads=1)
    found = network.probabilities(["yen loan rises", "yen loan falls"])
    assert found[0, SENTIMENT.start + 2] > found[0, SENTIMENT.start]
    assert found[1, SENTIMENT.start] > found[1, SENTIMENT.start + 2]


def test_a_run_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(replace(job, output=tmp_path / "whole"))

    def pulled(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_save", pulled)
        with pytest.raises(KeyboardInterrupt):
            run(job)
    with pytest.raises(ModelError, match="--resume"):
        run(job)
    newest = max((job.output / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    resumed = run(replace(job, resume=True))
    ours, theirs = (Network.load(f, device="cpu", precision="fp32", threads=1) for f in (resumed, whole))
    np.testing.assert_allclose(ours.logits(["bank falls"]), theirs.logits(["bank falls"]), atol=0.02)


def test_a_run_that_was_cut_off_while_it_was_judged_goes_on(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(card, "write", full)
        with pytest.raises(OSError, match="No space"):
            run(job)
    assert check(run(replace(job, resume=True))).version == "t-1"


def test_a_run_does_not_go_on_with_another_recipe(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "train", lambda *_, **__: pytest.fail("begun"))
        with pytest.raises(pytest.fail.Exception):
            run(job)
    with pytest.raises(ModelError, match="other settings"):
        run(replace(job, resume=True, recipe=replace(job.recipe, learning_rate=1e-3)))


def test_a_folder_with_a_model_is_not_overwritten(job: Job) -> None:
    make_tiny(job.output)
    with pytest.raises(ModelError, match="there is a model in it already"):
        run(job)


def test_adapters_leave_an_ordinary_folder_and_the_base_untouched(job: Job) -> None:
    pytest.importorskip("peft")
    folder = run(replace(job, recipe=replace(job.recipe, lora=4)))
    assert check(folder).version == "t-1"
    assert not list(folder.glob("adapter*"))


def test_frozen_layers_keep_their_weights(job: Job) -> None:
    from safetensors.numpy import load_file

    folder = run(replace(job, recipe=replace(job.recipe, freeze=1)))
    before, after = (load_file(Path(f) / "model.safetensors") for f in (job.recipe.base, folder))
    name = "bert.encoder.layer.{}.output.dense.weight"
    np.testing.assert_allclose(before[name.format(0)], after[name.format(0)], atol=1e-3)
    assert np.abs(before[name.format(1)] - after[name.format(1)]).max() > 1e-2


def test_a_teacher_s_opinion_is_learnt_where_there_is_no_label(job: Job, tmp_path: Path) -> None:
    teacher = run(replace(job, output=tmp_path / "teacher", recipe=replace(job.recipe, epochs=16), newswire=0))
    taught = run(
        replace(job, teachers=(str(teacher),), training=job.training[:1], recipe=replace(job.recipe, epochs=16))
    )
    found = Network.load(taught, device="cpu", precision="fp32", threads=1).probabilities(["gas steel falls"])
    assert SENTIMENT.labels[int(found[0, SENTIMENT.start :].argmax())] is Sentiment.NEGATIVE


def test_a_base_that_is_none_is_told(job: Job, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match=r"base .*empty: cannot be loaded"):
        run(replace(job, recipe=replace(job.recipe, base=str(empty))))


def test_too_few_rows_are_told(job: Job, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,topic\nBank falls,Macro\n")
    with pytest.raises(DatasetError, match="too few"):
        run(replace(job, training=[File(str(tmp_path / "one.csv"))]))


def test_a_text_labelled_twice_is_one_row_with_both_labels() -> None:
    rows = [Row("a", Topic.MACRO), Row("a", None, Sentiment.NEGATIVE), Row("a", Topic.IPO), Row("b", Topic.IPO)]
    assert merged(rows) == [Row("a", Topic.MACRO, Sentiment.NEGATIVE), Row("b", Topic.IPO)]


def test_pieces_are_made_of_the_rows_words_and_carry_no_label() -> None:
    rows = [Row("alpha beta gamma delta", Topic.MACRO, Sentiment.NEGATIVE), Row("one two three four five", None, None)]
    found = pieces(rows, 40, seed=2)
    assert len(found) == 40
    assert {word for row in found for word in row.text.split()} <= {word for row in rows for word in row.text.split()}
    assert all(row.topic is None and row.sentiment is None for row in found)
    assert any("alpha" in row.text and "five" in row.text for row in found)
    assert found == pieces(rows, 40, seed=2)


def test_of_two_teachers_the_average_is_learnt(job: Job, tmp_path: Path) -> None:
    teacher = run(replace(job, output=tmp_path / "teacher", newswire=0))
    other = run(replace(job, output=tmp_path / "other", recipe=replace(job.recipe, seed=8), newswire=0))
    rows = [Row("Shares plunge after fraud", None, None), Row("Oil rises", None, None)]
    texts = [row.text for row in rows]
    both = replace(job, teachers=(str(teacher), str(other)), output=tmp_path / "taught")
    said = np.exp(jobs._opinions(both, rows, []))
    expected = (Network.load(teacher).probabilities(texts) + Network.load(other).probabilities(texts)) / 2
    assert np.allclose(said, expected, atol=2 * AGREEMENT)  # each load may choose another precision


def test_joined_texts_are_labelled_as_far_as_both_agree() -> None:
    rows = [Row("Up", Topic.MACRO, Sentiment.POSITIVE), Row("Down", Topic.MACRO, Sentiment.NEGATIVE)]
    for row in joined(rows, 30, seed=1):
        first, second = row.text.split(". ")
        assert row.topic is Topic.MACRO
        assert row.sentiment == (
            {"Up": Sentiment.POSITIVE, "Down": Sentiment.NEGATIVE}[first] if first == second else None
        )


def test_rarer_labels_weigh_more_and_the_mean_row_weighs_one() -> None:
    rows = [Row("x", Topic.MACRO)] * 90 + [Row("x", Topic.IPO)] * 10
    weights = class_weights(rows, TOPIC, 0.5)
    macro, ipo = (weights[TOPIC.labels.index(label)].item() for label in (Topic.MACRO, Topic.IPO))
    assert ipo == pytest.approx(3 * macro)
    assert 0.9 * macro + 0.1 * ipo == pytest.approx(1)
    assert class_weights(rows, TOPIC, 0.0).tolist() == [1.0] * 20


def test_what_the_weights_put_into_the_logits_is_taken_out_again(tmp_path: Path) -> None:
    network = Network.load(make_tiny(tmp_path / "tiny"), device="cpu", precision="fp32", threads=1)
    before = network.logits(["bank falls"])
    weights = {head.name: torch.linspace(0.5, 2.0, len(head.labels)) for head in HEADS}
    unweigh(cast("Any", network.model), weights, 0.5)
    for head in HEADS:
        moved = (before - network.logits(["bank falls"]))[0, head.start : head.end]
        np.testing.assert_allclose(moved, 0.5 * weights[head.name].log(), atol=1e-5)


def test_rows_without_a_label_or_an_opinion_teach_nothing() -> None:
    loss = Loss(Recipe(base="x"), {head.name: torch.ones(len(head.labels)) for head in HEADS})
    logits = torch.randn(3, 23, requires_grad=True)
    labels = torch.full((3, 2), UNLABELLED)
    labels[0, 0] = 4
    teacher = torch.full((3, 23), torch.nan)
    teacher[1, SENTIMENT.start :] = torch.tensor([2.0, 0.0, -2.0])
    loss(logits, labels, teacher).backward()
    touched = (logits.grad != 0).tolist() if logits.grad is not None else []
    assert all(touched[0][:20])
    assert not any(touched[0][20:])
    assert not any(touched[1][:20])
    assert all(touched[1][20:])
    assert not any(touched[2])
