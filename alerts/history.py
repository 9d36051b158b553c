"""The recent past of a key, for the picture in a message."""

from datetime import datetime, timedelta

from monitor.domain.alerts import Alert, History
from monitor.domain.windows import BUCKET_S, RESOLUTIONS_S
from monitor.storage.store import Store
from monitor.storage.timeline import timeline

_BARS_IN_WINDOW = 3
_BEFORE = timedelta(days=1)
_WINDOWS_BEFORE = 10
_MOST = timedelta(days=14)
_RESOLUTION = "5m"
_LIMIT = int(_MOST / timedelta(seconds=RESOLUTIONS_S[_RESOLUTION])) + 1


async def history(store: Store, alert: Alert, now: datetime) -> History:
    """Negative stories of the alert's key in bars of which the window of its strongest spike holds three.

    From a day or ten windows before that to `now`, at most two weeks.
    Raises: StoreError.
    """
    spike = alert.spikes[0]
    window = spike.end - spike.start
    bucket = timedelta(seconds=BUCKET_S)
    bar = bucket * max(1, -(-window // (bucket * _BARS_IN_WINDOW)))
    end = spike.end + bar * max(0, -((spike.end - min(now, spike.end + _MOST / 2)) // bar))
    start = spike.end - bar * -(-min(max(_BEFORE, _WINDOWS_BEFORE * window), _MOST / 2) // bar)
    points = await timeline(store, alert.key, resolution=_RESOLUTION, now=now, since=start, until=end, limit=_LIMIT)
    count = (end - start) // bar
    negative, heard, known = [0] * count, [False] * count, [False] * count
    for point in points:
        place = (point.stats.start - start) // bar
        negative[place] += point.stats.negative_stories
        known[place] = True
        # Where it is not known whether anybody listened, as in an archive, a count is taken for what it says.
        heard[place] |= point.observed != 0
    return History(
        key=alert.key,
        start=start,
        width_s=int(bar.total_seconds()),
        negative=tuple(negative),
        heard=tuple(listened or not was_known for listened, was_known in zip(heard, known, strict=True)),
    )
