"""A detector's whole memory as bytes: what is shared as JSON, then the numbers of each key, little-endian."""

import json
import sys
import zlib
from array import array
from collections.abc import Hashable, Mapping
from typing import Any

from monitor.domain.windows import Key

_MAGIC = b"detector1\n"


def pack(version: str, shared: Any, keys: Mapping[Hashable, "array[float]"]) -> bytes:
    """Raises: TypeError, for a key that is neither a Key nor a str."""
    header = {
        "version": version,
        "shared": shared,
        "keys": [name_of(key) for key in keys],
        "sizes": [len(numbers) for numbers in keys.values()],
    }
    numbers = array("d")
    for state in keys.values():
        numbers.extend(state)
    if sys.byteorder == "big":
        numbers.byteswap()
    text = json.dumps(header, separators=(",", ":")).encode()
    return _MAGIC + zlib.compress(len(text).to_bytes(8, "little") + text + numbers.tobytes(), 1)


def unpack(version: str, state: bytes) -> tuple[Any, dict[Hashable, "array[float]"]]:
    """Raises: ValueError, if it is none, or another version's."""
    if not state.startswith(_MAGIC):
        raise ValueError("this is not the state of a detector; let it learn again")
    try:
        body = zlib.decompress(state[len(_MAGIC) :])
        end = 8 + int.from_bytes(body[:8], "little")
        header = json.loads(body[8:end])
        numbers = array("d", body[end:])
    except (zlib.error, ValueError) as error:
        raise ValueError("the state of the detector is damaged; let it learn again") from error
    if header["version"] != version:
        raise ValueError(f"this state is of {header['version']}, not of {version}; let the detector learn again")
    if sys.byteorder == "big":
        numbers.byteswap()
    keys: dict[Hashable, array[float]] = {}
    start = 0
    for name, size in zip(header["keys"], header["sizes"], strict=True):
        keys[key_of(name)] = numbers[start : start + size]
        start += size
    return header["shared"], keys


def name_of(key: Hashable) -> Any:
    """What stands for a key in JSON."""
    if isinstance(key, str):
        return key
    if isinstance(key, tuple) and len(key) == 2:
        return list(key)
    raise TypeError(f"expected a Key or a str as the key of a detector, not {type(key).__name__}")


def key_of(name: Any) -> Hashable:
    return name if isinstance(name, str) else Key(*name)
