"""How far a count or a share lies from what is expected."""

import math
from collections.abc import Callable

_Z_975 = 1.959964
_COUNTABLE = 200.0


def count_z(observed: float, expected: float, size: float) -> float:
    """Signed root of the deviance of a negative binomial with mean `expected` and shape `size`.

    Source: the deviance residual of Pierce and Schafer, JASA 81, 1986.
    """
    first = observed * math.log(observed / expected) if observed else 0.0
    second = (observed + size) * math.log((observed + size) / (expected + size))
    return math.copysign(math.sqrt(2 * max(0.0, first - second)), observed - expected)


def share_z(negative: float, stories: float, share: float, correlation: float) -> float:
    """The same for a share of `negative` among `stories`, whose signs are correlated: a beta-binomial's variance."""
    other = stories - negative
    first = negative * math.log(negative / (stories * share)) if negative else 0.0
    second = other * math.log(other / (stories * (1 - share))) if other > 0 else 0.0
    clustered = 1 + (stories - 1) * correlation
    return math.copysign(math.sqrt(2 * max(0.0, first + second) / clustered), negative - stories * share)


def interval(expected: float, size: float) -> tuple[float, float]:
    """The central 95 % of a negative binomial with that mean and shape; exact up to a mean of 200."""
    if expected > _COUNTABLE:
        # Wilson and Hilferty's cube root of a gamma variable with the same mean and variance.
        variance = expected + expected * expected / size
        ninth = variance / (9 * expected * expected)
        low, high = (expected * (1 - ninth + sign * _Z_975 * math.sqrt(ninth)) ** 3 for sign in (-1, 1))
        return max(0.0, low), high
    step = expected / (expected + size)
    mass = math.exp(size * math.log1p(-step))
    below, count = 0.0, 0
    low = -1
    while True:
        below += mass
        if low < 0 and below >= 0.025:
            low = count
        if below >= 0.975 or (mass == 0.0 and count > expected):
            return float(max(low, 0)), float(count)
        mass *= (count + size) / (count + 1) * step
        count += 1


def least(holds: Callable[[int], bool], first: int) -> int:
    """The least number, from `first` (at least 1) on, for which it holds; it is to hold for all above that one too."""
    most = first
    if holds(most):
        return most
    while not holds(most):
        most *= 2
    below = most // 2
    while most - below > 1:
        middle = (below + most) // 2
        below, most = (below, middle) if holds(middle) else (middle, most)
    return most
