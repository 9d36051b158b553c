"""Model folders for tests: complete, tiny, with weights that nobody can use."""

import json
import struct
from pathlib import Path
from typing import Any

from pipelines.classify.heads import WIDTH, id2label

Shapes = dict[str, list[int]]

SHAPES: Shapes = {"encoder.weight": [4, 2], "classifier.weight": [WIDTH, 2], "classifier.bias": [WIDTH]}


def make_weights(shapes: Shapes | None = None, *, fill: int = 0) -> bytes:
    """A safetensors file of single-precision tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in (SHAPES if shapes is None else shapes).items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes([fill]) * end


def make_config(version: str, **overrides: Any) -> dict[str, Any]:
    """A Hugging Face configuration with what the registry asks for; `monitor` is merged, the rest replaced."""
    monitor = {
        "version": version,
        "temperature": {"topic": 1.25, "sentiment": 0.9},
        "max_tokens": 128,
        **overrides.pop("monitor", {}),
    }
    return {
        "model_type": "bert",
        "max_position_embeddings": 512,
        "id2label": {str(index): label for index, label in id2label().items()},
        "monitor": monitor,
        **overrides,
    }


def make_model(folder: Path, version: str, *, metrics: Any = None, fill: int = 0, **overrides: Any) -> Path:
    """A folder the registry takes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config(version, **overrides)))
    (folder / "model.safetensors").write_bytes(make_weights(fill=fill))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "WordPiece", "vocab": {}}}))
    (folder / "tokenizer_config.json").write_text("{}")
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder
