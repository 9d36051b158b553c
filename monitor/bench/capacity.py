"""What the detector costs: keys judged a second, bytes a key, and its part of a tick."""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from monitor.domain.windows import Key
from pipelines.detect.detector import Detector

_DAYS: Final = 8
_FIRST: Final = 1_700_000_000 // 300
_DAY: Final = 288
_ROUNDS: Final = 5


def measure(make: Callable[[], Detector], sizes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """For each number of keys, on one core of this machine, after a week of a few stories a day on each key.

    A tick: time goes on by a bucket, every key takes in two stories, one of them negative, and is judged.
    """
    return {str(size): _of(make, size) for size in sizes}


def _of(make: Callable[[], Detector], size: int) -> dict[str, Any]:
    keys = [Key("topic", f"name {number}") for number in range(size)]
    detector = make()
    bucket = _past(detector, keys)
    judged, taken, ticks, advanced = [], [], [], []
    for number in range(_ROUNDS):
        began = time.perf_counter()
        detector.advance(bucket + number + 1)
        detector.volume(bucket + number + 1, 2 * size)
        moved = time.perf_counter()
        for key in keys:
            detector.take(key, bucket + number + 1, 1, 2)
        took = time.perf_counter()
        for key in keys:
            detector.judge(key)
        ended = time.perf_counter()
        advanced.append(moved - began)
        taken.append(took - moved)
        judged.append(ended - took)
        ticks.append(ended - began)
    state = len(detector.dump())
    del detector
    gc.collect()
    return {
        "judged_per_s": round(size / statistics.median(judged)),
        "taken_per_s": round(size / statistics.median(taken)),
        "advance_ms": round(1000 * statistics.median(advanced), 1),
        "tick_s": round(statistics.median(ticks), 3),
        "tick_longest_s": round(max(ticks), 3),
        "state_bytes_per_key": round(state / size),
        "memory_bytes_per_key": _memory(make, keys),
    }


def _memory(make: Callable[[], Detector], keys: Sequence[Key]) -> int:
    """Allocated bytes per key, over those of a detector without keys; the keys' names are not counted."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        detector = make()
        _past(detector, keys[:5_000], per_day=1)
        after = tracemalloc.get_traced_memory()[0]
        return round((after - before) / len(keys[:5_000]))
    finally:
        tracemalloc.stop()


def _past(detector: Detector, keys: Sequence[Key], per_day: int = 2) -> int:
    """Lets a week pass; the bucket it ends with."""
    rng = np.random.default_rng(7)
    detector.advance(_FIRST)
    heard: dict[int, list[int]] = {}
    for place, buckets in enumerate(rng.integers(0, _DAYS * _DAY, (len(keys), per_day * _DAYS)).tolist()):
        for bucket in buckets:
            heard.setdefault(_FIRST + bucket, []).append(place)
    for bucket in sorted(heard):
        detector.advance(bucket)
        detector.volume(bucket, len(heard[bucket]))
        for place in heard[bucket]:
            detector.take(keys[place], bucket, int(place % 5 == 0), 1)
    last = _FIRST + _DAYS * _DAY
    detector.advance(last)
    return last
