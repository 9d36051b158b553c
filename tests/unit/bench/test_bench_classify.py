"""The measurement of labelling: its arithmetic, and one whole run on a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.bench import classify
from pipelines.classify.models._network import Network
from tests.acceptance.command import Workplace
from tests.tiny import make_tiny

TEXTS = ["Bank falls", "profit " * 30, "Profit rises at a bank\nand a summary of some length follows", "x"] * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture
def network(folder: Path) -> Network:
    return Network.load(folder, device="cpu", precision="fp32", threads=1)


def test_operations_are_those_of_the_layers_and_of_attention(network: Network) -> None:
    per_token = 2 * 2 * (4 * 32**2 + 2 * 32 * 64)
    assert classify.flop(network, 1) == per_token + 4 * 2 * 32
    assert classify.flop(network, 10) == 10 * per_token + 4 * 2 * 100 * 32


def test_texts_that_depend_on_their_neighbours_are_counted(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = classify.agreement(network, TEXTS)
    assert (honest["labels"], honest["differing"]) == (2 * len(TEXTS), 0)
    inner = network.probabilities

    def swayed(texts: list[str]) -> np.ndarray:
        found = inner(texts)
        return found[:, ::-1] if len(texts) > 1 else found

    monkeypatch.setattr(network, "probabilities", swayed)
    assert classify.agreement(network, TEXTS)["differing"] > 0


def test_a_run_says_what_it_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "_ARRIVALS_S", 0.2)
    monkeypatch.setattr(classify, "ROUNDS", 1)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(text.replace("\n", " ") for text in TEXTS))
    line = ("bench", "classify", str(file), "--model", str(folder), "--precision", "fp32", "--device", "cpu", "--json")
    found = json.loads(Workplace(tmp_path / "place").call(*line).out)
    assert found["texts"] == len(TEXTS)
    assert {"monitor", "transformers.pipeline, batch 1", "transformers.pipeline, batch 32"} <= set(found["rates"])
    assert found["rates"]["monitor"]["times_slower_than_monitor"] == 1
    assert 0 <= found["padding_waste"] <= found["arrival_order_32_waste"] < 1
    assert found["share_of_gemm"] == pytest.approx(found["used_gflops"] / found["gemm_gflops"], rel=0.3, abs=0.01)
    assert found["queue"]["wait_p99_ms"] >= found["queue"]["wait_p50_ms"] >= 0
    assert found["against_one_by_one"]["differing"] == 0


def test_a_file_without_texts_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("")
    done = Workplace(tmp_path / "place").call("bench", "classify", str(file), "--model", str(folder))
    assert done.code == 2
    assert "FILE" in done.err
