"""A real transformer of a few thousand random weights, for tests: it says nothing sensible, always the same."""

import string
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from pipelines.classify.heads import id2label

MAX_TOKENS = 48


def make_tiny(
    folder: Path,
    version: str = "tiny-1",
    *,
    labels: Mapping[int, str] | None = None,
    ours: bool = True,
    seed: int = 0,
    spread: float = 0.5,
) -> Path:
    """A model folder. With `labels` its outputs are named so; without `ours` it is a stranger's, not calibrated.

    `spread` of the weights: 0.5 gives decided answers, 0.1 a model that learns.
    """
    named = dict(labels or id2label())
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(_vocabulary()), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, id2label=named, label2id={v: k for k, v in named.items()},
        initializer_range=spread,
    )  # fmt: skip
    if ours:
        config.monitor = {
            "version": version, "temperature": {"topic": 1.3, "sentiment": 0.8}, "max_tokens": MAX_TOKENS,
        }  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _vocabulary() -> dict[str, int]:
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bank", "profit", "rises", "falls", *characters]
    return {piece: at for at, piece in enumerate([*pieces, *(f"##{character}" for character in characters)])}


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
