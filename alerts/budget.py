"""How many messages of bad news a receiver gets in a day at most."""

import math
from fractions import Fraction

from monitor.domain.spikes import Severity

# Nobody knows in the morning what the afternoon brings: part of the budget is kept for what is stronger.
_SHARES = {Severity.WARNING: Fraction(2, 3), Severity.SEVERE: Fraction(5, 6), Severity.CRITICAL: Fraction(1)}


def within(severity: Severity, spent: int, limit: int) -> bool:
    """Whether a message may go after `spent` others in 24 hours.

    Of a `limit` above 0 warnings may use two thirds, and severe alerts five sixths, rounded up; critical ones all.
    """
    return limit == 0 or spent < math.ceil(limit * _SHARES[severity])
