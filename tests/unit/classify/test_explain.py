"""Which words made a label: for networks whose reasons are known, and for a small encoder with random weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from monitor.errors import ModelError, RecordError
from pipelines.classify.explain import Explanation, explain
from pipelines.classify.heads import HEADS, SENTIMENT, TOPIC, WIDTH, Head, id2label
from pipelines.classify.text import normalise

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "bank", "oil", "fall", "##s", "rise", "profit", "not", ",", "!")


class Reasons(nn.Module):
    """Adds up what each piece says: `fall` speaks for negative, `rise` for positive, `bank` a little for negative."""

    def __init__(self) -> None:
        super().__init__()
        self.said = nn.Embedding(len(PIECES), WIDTH)
        self.said.weight.data.zero_()
        for piece, column, much in (("fall", 20, 3.0), ("bank", 20, 0.5), ("rise", 22, 3.0)):
            self.said.weight.data[PIECES.index(piece), column] = much
        self.said.requires_grad_(False)

    def get_input_embeddings(self) -> nn.Module:
        return self.said

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        said = self.said(input_ids) * attention_mask.unsqueeze(-1)
        return SimpleNamespace(logits=said.sum(1))


def _tokenizer() -> PreTrainedTokenizerBase:
    plain = Tokenizer(WordPiece({piece: at for at, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    plain.normalizer = BertNormalizer(lowercase=True)
    plain.pre_tokenizer = BertPreTokenizer()
    plain.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@dataclass
class Network:
    model: nn.Module = field(default_factory=Reasons)
    tokenizer: PreTrainedTokenizerBase = field(default_factory=_tokenizer)
    version: str = "reasons-1"
    max_tokens: int = 16
    temperature: Mapping[str, float] = field(default_factory=lambda: {"sentiment": 2.0})
    columns: Mapping[str, Sequence[int | None]] = field(
        default_factory=lambda: {head.name: list(range(head.start, head.end)) for head in HEADS}
    )

    def read(self, text: str) -> str:
        return normalise(text)


@pytest.fixture(scope="module")
def encoder() -> Network:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.4,
        id2label=id2label(),
    )
    return Network(BertForSequenceClassification(config).eval().requires_grad_(False))


def _weights(found: Explanation) -> dict[str, float]:
    return {word.text: word.weight for word in found.words if word.weight is not None}


def test_the_word_that_decides_weighs_most_and_what_says_nothing_weighs_nothing() -> None:
    found = explain(Network(), "Bank profit falls", SENTIMENT)
    assert found.label == "negative"
    weights = _weights(found)
    assert weights["falls"] > weights["Bank"] > 0
    assert weights["profit"] == pytest.approx(0, abs=1e-6)


def test_a_word_against_the_label_weighs_below_nothing() -> None:
    found = explain(Network(), "bank falls rises", SENTIMENT)
    assert found.label == "negative"
    assert _weights(found)["rises"] < 0
    assert _weights(explain(Network(), "bank falls rises", SENTIMENT, label="positive"))["rises"] > 0


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_weights_sum_to_what_the_words_changed(encoder: Network, head: Head) -> None:
    found = explain(encoder, "Bank profit falls, oil rises!", head)
    total = sum(_weights(found).values())
    assert total == pytest.approx(found.log_odds - found.baseline + found.delta, abs=1e-4)
    assert abs(found.delta) < 0.05
    assert abs(total) > 0.01
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert found.label == max(found.probabilities, key=found.probabilities.__getitem__)


def test_equal_texts_have_equal_explanations(encoder: Network) -> None:
    assert explain(encoder, "oil falls", TOPIC) == explain(encoder, "oil falls", TOPIC)


def test_calibration_is_part_of_what_is_explained() -> None:
    sharp, flat = Network(temperature={}), Network(temperature={"sentiment": 4.0})
    assert explain(sharp, "oil falls", SENTIMENT).log_odds > explain(flat, "oil falls", SENTIMENT).log_odds


def test_words_are_those_of_the_text_as_the_model_reads_it() -> None:
    found = explain(Network(), "Bank &amp; oil, “falls”! 😀 https://example.com/x", SENTIMENT)
    assert found.text == "Bank & oil, “falls”! 😀"
    assert [word.text for word in found.words] == found.text.split(" ")
    assert _weights(found)["“falls”!"] > 1


def test_words_beyond_what_the_model_reads_have_no_weight() -> None:
    found = explain(Network(max_tokens=6), "bank oil profit bank falls rises", SENTIMENT)
    assert [word.weight is None for word in found.words] == [False] * 4 + [True] * 2


def test_a_text_of_nothing_but_links_is_refused() -> None:
    with pytest.raises(RecordError, match="nothing is left"):
        explain(Network(), "https://example.com/x", SENTIMENT)


def test_a_head_without_answer_is_named() -> None:
    network = Network(columns={"sentiment": [20, 21, 22]})
    with pytest.raises(ModelError, match="reasons-1 does not answer topic; it answers sentiment"):
        explain(network, "oil", TOPIC)


def test_a_label_the_network_never_gives_is_left_out() -> None:
    network = Network(columns={"sentiment": [20, None, 22]})
    assert set(explain(network, "oil", SENTIMENT).probabilities) == {"negative", "positive"}
    with pytest.raises(ModelError, match="never says sentiment neutral; it says: negative, positive"):
        explain(network, "oil", SENTIMENT, label="neutral")
