"""Spikes in words, and counts as a line of signs."""

from collections.abc import Sequence
from datetime import timedelta

from monitor.domain.spikes import Spike
from monitor.domain.windows import ALL
from pipelines.detect.detector import Power, Score

_BARS = "▁▂▃▄▅▆▇█"
ZERO, UNHEARD = "·", "?"


def sentence(spike: Spike) -> str:
    """The spike with its numbers, in words."""
    sources = f"{spike.sources} source{'' if spike.sources == 1 else 's'}"
    length = spike.end - spike.start
    told = (
        f"{'All news' if spike.key == ALL else spike.key.name}: {spike.observed} negative stories of {spike.total} from"
        f" {sources} in {span(length)}; {amount(spike.expected)} expected{interval(spike)}"
    )
    if spike.per_week is None:
        return f"{told}."
    return f"{told}; by itself it scores as high about {how_often(spike.per_week)}."


def amount(expected: float) -> str:
    """As many digits as say something: 3.21, 0.02, 0.003."""
    return f"{expected:.2f}" if expected >= 0.095 else f"{expected:.1g}" if expected >= 0.001 else "less than 0.001"


def interval(of: Spike | Score | Power) -> str:
    return "" if of.low is None or of.high is None else f" (95 %: {of.low:.0f} to {of.high:.0f})"


def span(length: timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def how_often(per_week: float) -> str:
    if per_week >= 1.5:
        return f"{per_week:.0f} times a week"
    weeks = 1 / max(per_week, 1e-9)
    if weeks < 1.5:
        return "once a week"
    if weeks < 104:
        return f"once in {weeks:.0f} weeks"
    return f"once in {weeks / 52.18:.0f} years" if weeks < 5218 else "once in more than 100 years"


def sparkline(counts: Sequence[int], unheard: Sequence[bool]) -> str:
    """One sign for each count, as high as its share of the highest; what nobody listened to is not zero."""
    most = max(counts, default=0)
    signs = [_BARS[(count * len(_BARS) - 1) // most] if count else ZERO for count in counts]
    return "".join(UNHEARD if missed else sign for sign, missed in zip(signs, unheard, strict=True))
