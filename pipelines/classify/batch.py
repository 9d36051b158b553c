"""Which texts go through the device together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of a window of texts, longest first, and what padding them costs.

    Units: `tokens` are those of the texts, `padded` those the device computes (rows times longest).
    """

    batches: tuple[tuple[int, ...], ...]
    tokens: int
    padded: int

    @property
    def waste(self) -> float:
        """The share of the computed tokens that are padding, in [0, 1)."""
        return 1 - self.tokens / self.padded if self.padded else 0.0


def plan(lengths: Sequence[int], *, max_tokens: int, call_tokens: int) -> Plan:
    """Sorts a window by length and fills batches by padded cost. Every text is in exactly one batch.

    A batch is full when its padded cost would pass `max_tokens` (a text longer than that goes alone), or when its
    padding would pass `call_tokens`: from there on, another call is cheaper than more padding.

    Units: `lengths` in tokens; `call_tokens` is what a call costs besides its tokens, in tokens computed meanwhile.
    """
    batches = tuple(tuple(batch) for batch in _fill(lengths, max_tokens, call_tokens))
    padded = sum(len(batch) * lengths[batch[0]] for batch in batches)
    return Plan(batches, sum(lengths), padded)


def _fill(lengths: Sequence[int], max_tokens: int, call_tokens: int) -> Iterator[list[int]]:
    batch: list[int] = []
    padding = 0
    for at in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        longest = lengths[batch[0]] if batch else 0
        padding += longest - lengths[at]
        if batch and ((len(batch) + 1) * longest > max_tokens or padding > call_tokens):
            yield batch
            batch, padding = [], 0
        elif not batch:
            padding = 0
        batch.append(at)
    if batch:
        yield batch
