"""A model folder, seen from outside: what it says of itself, and whether all of it is there. Needs no torch."""

import re
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, Field, FiniteFloat, ValidationError
from pydantic_core import from_json

from monitor.domain.record import Record
from monitor.errors import ModelError
from pipelines.classify.heads import HEADS, WIDTH, id2label
from pipelines.classify.spelling import FILE as WORDS
from pipelines.classify.spelling import read_words

WEIGHTS: Final = "model.safetensors"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a version may look like: it names a folder."""

_TAKEN: Final = frozenset({"current.json", "refused.json", "registry.lock", "shipped"})  # what else lies beside them
_LFS: Final = b"version https://git-lfs"
_MAX_HEADER_BYTES: Final = 100_000_000
_BYTES: Final = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}


class Card(Record):
    """What a model folder says of itself.

    Units: `temperature` divides the logits of the head it is named after; `max_tokens` per text.
    """

    version: str
    temperature: dict[str, float]
    max_tokens: int
    parameters: int


_Temperature = Annotated[FiniteFloat, Field(ge=0.01, le=100, strict=True)]
_Size = Annotated[int, Field(ge=0, strict=True)]


class _Settings(BaseModel):
    version: str
    temperature: dict[str, _Temperature]
    max_tokens: Annotated[int, Field(ge=8, strict=True)]


class Config(BaseModel):
    """The part of a Hugging Face configuration that matters here."""

    model_type: str
    id2label: dict[int, str]
    max_position_embeddings: int | None = None
    monitor: _Settings


class _Tensor(BaseModel):
    dtype: str
    shape: list[_Size]
    data_offsets: tuple[_Size, _Size]


M = TypeVar("M", bound=BaseModel)


def check(folder: Path) -> Card:
    """Reads what a model folder says of itself, and whether all of it is there. The numbers in it are not read.

    Raises: ModelError, naming the folder and what is lacking.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder")
    config = read(Config, folder / "config.json")
    version = config.monitor.version
    if not NAME.fullmatch(version) or version.lower() in _TAKEN:
        raise ModelError(
            f"{folder}: config.json: monitor.version {version!r} cannot name a folder; "
            "expected up to 100 letters, digits, dots, dashes and underscores"
        )
    for index, label in id2label().items():
        if config.id2label.get(index) != label:
            raise ModelError(
                f"{folder}: config.json: id2label {index} is {config.id2label.get(index)!r}; expected {label!r}"
            )
    if len(config.id2label) != WIDTH:
        raise ModelError(f"{folder}: config.json: id2label has {len(config.id2label)} labels; expected {WIDTH}")
    for head in HEADS:
        if head.name not in config.monitor.temperature:
            raise ModelError(f"{folder}: config.json: monitor.temperature lacks {head.name}")
    positions = config.max_position_embeddings
    if positions is not None and config.monitor.max_tokens > positions:
        raise ModelError(
            f"{folder}: config.json: monitor.max_tokens is {config.monitor.max_tokens}; "
            f"the model has {positions} positions"
        )
    if "model" not in read_object(folder / "tokenizer.json"):
        raise ModelError(f"{folder}: tokenizer.json holds no tokenizer: it has no key 'model'")
    read_object(folder / "tokenizer_config.json")
    if (folder / WORDS).exists():
        read_words(folder / WORDS)
    return Card(
        version=version,
        temperature=config.monitor.temperature,
        max_tokens=config.monitor.max_tokens,
        parameters=_check_weights(folder / WEIGHTS),
    )


def _check_weights(path: Path) -> int:
    """The number of parameters, if the file is as long as its header says and ends in a layer of our width.

    Source: the safetensors format, github.com/huggingface/safetensors.
    """
    where = f"{path.parent}: {path.name}"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start and _LFS.startswith(start):
                raise ModelError(f"{where} is a Git LFS pointer; fetch the file itself with: git lfs pull")
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ModelError(f"{where} has no safetensors header: it is another format, or was cut short")
            header = from_json(file.read(length), allow_inf_nan=False)
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: lacks {path.name}") from None
    except OSError as error:
        raise ModelError(f"{where}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{where}: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{where}: its header is not an object")
    tensors = {
        name: _validated(_Tensor, tensor, f"{where}: {name}")
        for name, tensor in header.items()
        if name != "__metadata__"
    }
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        first, last = tensor.data_offsets
        width = _BYTES.get(tensor.dtype)
        if first != end or (width is not None and last - first != width * prod(tensor.shape)) or last < first:
            raise ModelError(f"{where}: its header contradicts itself at {name}")
        end = last
    if size != 8 + length + end:
        raise ModelError(f"{where} has {size} bytes, {8 + length + end} by its header: it was not copied whole")
    if not any(
        name.startswith(("classifier", "score")) and name.endswith(".weight") and tensor.shape[:1] == [WIDTH]
        for name, tensor in tensors.items()
    ):
        raise ModelError(f"{where} has no classifier layer with {WIDTH} outputs")
    return sum(prod(tensor.shape) for tensor in tensors.values())


def read(kind: type[M], path: Path) -> M:
    """What a JSON file holds. Raises: ModelError, naming the file, and the key if one is wrong."""
    return _validated(kind, read_object(path), f"{path.parent}: {path.name}")


def _validated(kind: type[M], value: Any, where: str) -> M:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{where}: {key}: {first['msg']}") from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file as it is. Raises: ModelError, naming the file."""
    where = f"{path.parent}: {path.name}"
    if path.exists() and not path.is_file():  # a pipe would have its reader wait for ever
        raise ModelError(f"{where} is no file")
    try:
        found = from_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: lacks {path.name}") from None
    except OSError as error:
        raise ModelError(f"{where}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{where} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{where} is not a JSON object")
    return found
