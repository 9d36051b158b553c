"""A transformer as numbers: labels and columns, batches, precision, and what cannot be loaded."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from monitor.errors import ModelError
from pipelines.classify.heads import HEADS, SENTIMENT, TOPIC
from pipelines.classify.models import _network
from pipelines.classify.models._network import PRECISIONS, Costs, Network
from pipelines.classify.models._probe import PROBE
from tests.tiny import MAX_TOKENS, make_tiny

TEXTS = [
    "Bank falls",
    "Profit rises at a bank after all",
    "x",
    "",
    "profit " * 400,
    "🙂🙂 \x00 ünïcödé 中文",
    "bank " * 30,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return Network.load(folder, device="cpu", precision="fp32", threads=1)


def test_both_questions_are_answered_by_distributions(network: Network) -> None:
    found = network.probabilities(TEXTS)
    assert found.shape == (len(TEXTS), 23)
    for head in HEADS:
        np.testing.assert_allclose(found[:, head.start : head.end].sum(1), 1, atol=1e-5)


def test_the_folder_says_version_calibration_and_length(network: Network) -> None:
    assert (network.version, network.max_tokens) == ("tiny-1", MAX_TOKENS)
    logits, warm = network.logits(TEXTS), network.probabilities(TEXTS)
    for head in HEADS:
        powers = np.exp(logits[:, head.start : head.end].astype(float) / network.temperature[head.name])
        np.testing.assert_allclose(warm[:, head.start : head.end], powers / powers.sum(1, keepdims=True), atol=1e-5)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(TEXTS) | st.text(max_size=80), min_size=1, max_size=20))
def test_an_answer_does_not_depend_on_the_neighbours(network: Network, texts: list[str]) -> None:
    together = network.probabilities(texts)
    alone = np.concatenate([network.probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_window_is_no_border(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = network.probabilities(TEXTS * 3)
    monkeypatch.setattr(_network, "_WINDOW", 5)
    np.testing.assert_allclose(network.probabilities(TEXTS * 3), whole, atol=1e-5)


def test_no_text_gives_no_answer(network: Network) -> None:
    assert network.probabilities([]).shape == (0, 23)


def test_a_long_text_is_read_from_its_title_on(network: Network) -> None:
    assert len(network.encode(["bank " * 500])[0]) == MAX_TOKENS
    same_start = ["bank " * 60 + "profit", "bank " * 60 + "falls\nand a summary"]
    assert network.encode(same_start)[0] == network.encode(same_start)[1]


@pytest.mark.parametrize("precision", PRECISIONS["cpu"])
def test_every_precision_of_the_processor_agrees_roughly(folder: Path, network: Network, precision: str) -> None:
    other = Network.load(folder, device="cpu", precision=precision, threads=1)
    assert other.precision == precision
    np.testing.assert_allclose(other.probabilities(TEXTS), network.probabilities(TEXTS), atol=0.2)


def test_the_precision_chosen_was_measured_and_agrees(folder: Path, network: Network) -> None:
    chosen = Network.load(folder, device="cpu", threads=1)
    assert chosen.tried["fp32"] > 0
    assert chosen.tried[chosen.precision] == min(chosen.tried.values())
    apart = np.abs(chosen.probabilities(PROBE) - network.probabilities(PROBE)).max()
    assert apart <= _network.AGREEMENT


def test_a_precision_that_disagrees_is_not_chosen_however_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "AGREEMENT", -1.0)
    chosen = Network.load(folder, device="cpu", threads=1)
    assert chosen.precision == "fp32"
    assert chosen.tried == {}


def test_out_of_memory_halves_the_batches_and_answers_all(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = network.probabilities(TEXTS * 4)
    forward, refused = network._forward, []

    def tight(encoded: Any) -> torch.Tensor:
        if len(encoded) * len(encoded[0]) > 2 * MAX_TOKENS:
            refused.append(len(encoded))
            raise torch.OutOfMemoryError
        return forward(encoded)

    monkeypatch.setattr(network, "_forward", tight)
    monkeypatch.setattr(network, "costs", Costs(max_tokens=16 * MAX_TOKENS, call_tokens=10_000))
    np.testing.assert_allclose(network.probabilities(TEXTS * 4), expected, atol=1e-5)
    assert refused
    assert network.costs.max_tokens == 2 * MAX_TOKENS


def test_memory_too_small_for_one_text_is_said(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(network, "_forward", full)
    with pytest.raises(ModelError, match="out of memory"):
        network.probabilities(["bank"])


def test_a_strangers_classifier_answers_the_question_its_labels_name(tmp_path: Path) -> None:
    labels = {0: "positive", 1: "Bearish", 2: "NEUTRAL"}
    network = Network.load(make_tiny(tmp_path / "m", labels=labels, ours=False), device="cpu", precision="fp32")
    assert network.heads == (SENTIMENT,)
    assert network.columns == {"sentiment": [1, 2, 0]}
    assert network.version == "m"
    found = network.probabilities(TEXTS)
    assert np.isnan(found[:, TOPIC.start : TOPIC.end]).all()
    np.testing.assert_allclose(found[:, SENTIMENT.start :].sum(1), 1, atol=1e-5)


def test_labels_without_a_name_need_a_map(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m", labels={0: "LABEL_0", 1: "LABEL_1"}, ours=False)
    with pytest.raises(ModelError, match=r"LABEL_0, LABEL_1.*label map"):
        Network.load(folder, device="cpu")
    mapped = Network.load(folder, labels={"LABEL_0": "negative", "LABEL_1": "positive"}, device="cpu")
    found = mapped.probabilities(["bank"])[0, SENTIMENT.start :]
    assert found[1] == 0  # it never says neutral
    assert found.sum() == pytest.approx(1)
    with pytest.raises(ModelError, match="two of its labels mean negative"):
        Network.load(folder, labels={"LABEL_0": "negative", "LABEL_1": "bearish"}, device="cpu")


@pytest.mark.parametrize("harm", ["no folder", "no weights", "no tokenizer", "cut off", "not json"])
def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, harm: str) -> None:
    folder = make_tiny(tmp_path / "m")
    match harm:
        case "no folder":
            folder = tmp_path / "absent"
            folder.mkdir()
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "cut off":
            whole = (folder / "model.safetensors").read_bytes()
            (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        case "not json":
            (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=folder.name) as caught:
        Network.load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def _rename(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("bert.encoder")]:
        tensors[name.replace("bert.", "tower.")] = tensors.pop(name)


def _drop(tensors: dict[str, Any]) -> None:
    del tensors["classifier.bias"]


def _add(tensors: dict[str, Any]) -> None:
    tensors["bert.encoder.layer.2.output.dense.bias"] = torch.zeros(32)


def _narrow(tensors: dict[str, Any]) -> None:
    tensors["classifier.bias"] = torch.zeros(5)


def _break(tensors: dict[str, Any]) -> None:
    tensors["bert.embeddings.word_embeddings.weight"][7, 3] = torch.nan


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_rename, "lack"),
        (_drop, "classifier.bias"),
        (_add, "no place"),
        (_narrow, "classifier.bias"),
        (_break, "finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_not_filled_at_random(
    tmp_path: Path, harm: Callable[[dict[str, Any]], None], told: str
) -> None:
    folder = make_tiny(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    harm(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=told):
        Network.load(folder, device="cpu", precision="fp32")


def test_a_tokenizer_with_more_pieces_than_the_network_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m")
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"]["zebra"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="5000"):
        Network.load(folder, device="cpu", precision="fp32")


def test_code_beside_weights_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny(tmp_path / "m")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(ModelError, match=folder.name):
        Network.load(folder, device="cpu", precision="fp32")
    assert not (tmp_path / "ran").exists()


def test_marks_typed_in_a_text_are_no_marks(network: Network) -> None:
    (typed,) = network.encode(["bank [SEP] falls [PAD]"])
    assert typed.count(network.tokenizer.sep_token_id) == 1
    assert network.tokenizer.pad_token_id not in typed


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelError, match="no CUDA device"):
        Network.load(folder, device="cuda")


def test_a_precision_of_another_device_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="fp16 is not for cpu"):
        Network.load(folder, device="cpu", precision="fp16")


def test_one_core_is_left_to_the_rest_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        for cores, chosen in ((1, 1), (2, 1), (8, 7)):
            monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
            assert _network.set_threads(0) == chosen
        assert _network.set_threads(3) == 3
    finally:
        torch.set_num_threads(before)


def test_the_folder_is_an_ordinary_one(folder: Path) -> None:
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    assert labels["0"] == "topic:Analyst Update"
    assert labels["20"] == "sentiment:negative"
