"""Splits that keep what says the same together, so that no model is judged on what it has read."""

import hashlib
import itertools
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from datasketch import MinHash, MinHashLSH

THRESHOLD: Final = 0.7  # Jaccard similarity of word pairs, from which two texts count as the same
_PERMUTATIONS: Final = 64
_WORD: Final = re.compile(r"\w+")


def _shingles(text: str) -> list[bytes]:
    words = _WORD.findall(text.lower()) or [text.lower()]
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(words)]
    return [pair.encode() for pair in sorted({*pairs, words[0], words[-1]})]


def _hashes(texts: Iterable[str]) -> list[MinHash]:
    found: list[MinHash] = MinHash.bulk([_shingles(text) for text in texts], num_perm=_PERMUTATIONS, seed=1)
    return found


def groups(texts: Sequence[str]) -> list[int]:
    """The number of each text's group of near-duplicates: the connected components of texts alike.

    Source: A. Broder, On the resemblance and containment of documents, 1997.
    """
    leader = list(range(len(texts)))

    def find(at: int) -> int:
        while leader[at] != at:
            leader[at] = leader[leader[at]]
            at = leader[at]
        return at

    index = MinHashLSH(threshold=THRESHOLD, num_perm=_PERMUTATIONS)
    for at, signature in enumerate(_hashes(texts)):
        for other in index.query(signature):
            leader[find(at)] = find(other)
        index.insert(at, signature, check_duplication=False)
    return [find(at) for at in range(len(texts))]


def seen(texts: Sequence[str], training: Sequence[str]) -> list[bool]:
    """Whether each text has a near-duplicate in the training texts."""
    index = MinHashLSH(threshold=THRESHOLD, num_perm=_PERMUTATIONS)
    for at, signature in enumerate(_hashes(training)):
        index.insert(at, signature, check_duplication=False)
    return [bool(index.query(signature)) for signature in _hashes(texts)]


def holdout(texts: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and to validate on. Groups of near-duplicates stay on one side.

    Units: `share` of the texts to validate on, in (0, 1); kept to within one group.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for at, group in enumerate(groups(texts)):
        members[group].append(at)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    held: list[int] = []
    kept: list[int] = []
    for group_members in order:
        (held if len(held) + len(group_members) <= share * len(texts) else kept).extend(group_members)
    return sorted(kept), sorted(held)


def digest(texts: Iterable[str]) -> str:
    """Equal for equal texts in equal order."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return found.hexdigest()
