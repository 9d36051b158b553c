"""Opens a Hugging Face sequence classifier, and refuses what its library would make up."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging_untyped

from monitor.errors import ModelError

transformers_logging: Any = transformers_logging_untyped


def open_model(name: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model in single precision, with its tokenizer. A folder is never looked up on the network.

    Code that lies beside weights is never run. What a file lacks the library would fill at random: that is refused.

    Raises: ModelError
    """
    local = Path(name).exists()
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
            model, report = AutoModelForSequenceClassification.from_pretrained(
                name,
                local_files_only=local,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # to be told of them by name, below
                output_loading_info=True,
            )
    except Exception as error:  # noqa: BLE001  a hub, a disk, and three libraries can each fail in their own way
        raise ModelError(f"{name}: cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    _check_whole(name, model, report)
    _check_vocabulary(name, model, tokenizer)
    if tokenizer.is_fast:  # [SEP] in an outside text is five characters, and no mark of ours
        tokenizer.split_special_tokens = True
    return model, tokenizer


def _check_whole(name: str, model: Any, report: Mapping[str, Any]) -> None:
    lacking = [*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])]
    if lacking:
        raise ModelError(f"{name}: its weights do not fit its config.json: {len(lacking)} lack, {min(lacking)} for one")
    unused = [key for key in report["unexpected_keys"] if not key.endswith("position_ids")]
    if unused and getattr(model.config, "monitor", None):
        raise ModelError(f"{name}: its config.json has no place for {len(unused)} weights, {min(unused)} for one")
    broken = [key for key, weights in model.named_parameters() if not bool(weights.isfinite().all())]
    if broken:
        raise ModelError(f"{name}: weights of {broken[0]} are not finite numbers")


def _check_vocabulary(name: str, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    numbers = tokenizer.get_vocab().values()
    if max(numbers, default=0) >= rows:
        raise ModelError(f"{name}: its tokenizer has piece {max(numbers)}, its network only {rows} of them")
    if len(numbers) < rows / 2:
        raise ModelError(
            f"{name}: its tokenizer knows {len(numbers)} pieces, its network {rows}; its tokenizer files are lacking"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and advice, which would land in the daemon's log."""
    level = transformers_logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(logging.CRITICAL)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
