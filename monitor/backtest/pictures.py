"""One picture for each key that fired: how much bad news it had, and where it stood out."""

import io
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alerts.cleaning import clean
from monitor.backtest.facts import Played
from monitor.backtest.report import few
from monitor.domain.record import fingerprint
from monitor.domain.spikes import Severity, Spike
from monitor.domain.windows import Key, bucket_start

_DPI: Final = 120
_HOUR: Final = timedelta(hours=1)
_BEFORE, _AFTER = timedelta(hours=20), timedelta(hours=10)
_BARS, _PALE, _LEVEL = "#4c78a8", "#a9c2df", "#222222"
_COLOURS: Final = {Severity.WARNING: "#b7791f", Severity.SEVERE: "#c05621", Severity.CRITICAL: "#c53030"}
_MAX_NAME = 48


def draw(played: Played, key: Key) -> bytes:
    """The picture of a key that fired, as PNG: equal for equal runs.

    Above, the whole time; below, the hours around the strongest alarm, with the windows that fired, and in them what
    was expected, as a rate. Units: new negative stories an hour; times in UTC.
    """
    spikes = [alarm.spike for alarm in played.alarms if alarm.spike.key == key]
    strongest = max(spikes, key=lambda spike: (spike.score, spike.detected_at))
    hours = played.hours[key]
    first, last = played.first or strongest.start, played.last or strongest.end
    # Neither a headline's signs nor a rare script may break the picture, or the silence of the command.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        picture = Figure(figsize=(8, 5.6), layout="constrained")
        FigureCanvasAgg(picture)
        above, below = picture.subplots(2, 1, height_ratios=(1, 1.25))
        picture.suptitle(_title(key, spikes, strongest), fontsize=12, x=0.01, ha="left", parse_math=False)
        _overview(above, hours, spikes, first, last)
        _around(below, hours, spikes, strongest, first, last)
        bytes_of = io.BytesIO()
        picture.savefig(bytes_of, format="png", dpi=_DPI, metadata={"Software": None})
    return bytes_of.getvalue()


def file_name(key: Key) -> str:
    """A name for the picture that every file system takes, and no two keys share."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in str(key))[:_MAX_NAME]
    return f"{plain.strip('-') or 'key'}-{fingerprint(*key)[:8]}.png"


def _title(key: Key, spikes: Sequence[Spike], strongest: Spike) -> str:
    times = "1 alert" if len(spikes) == 1 else f"{len(spikes)} alerts"
    name = "all news" if key.kind == "all" else clean(str(key), _MAX_NAME)
    return f"{name}: {times}, strongest score {strongest.score:.1f}"


def _overview(
    axes: Axes, hours: Mapping[datetime, int], spikes: Sequence[Spike], first: datetime, last: datetime
) -> None:
    starts, counts = _series(hours, first, last)
    axes.fill_between(starts, counts, step="post", color=_BARS, linewidth=0.5, edgecolor=_BARS)
    top = max(counts.max(), 1.0)
    axes.set_ylim(0, 1.22 * top)
    for severity in Severity:
        fired = [spike.detected_at for spike in spikes if spike.severity == severity]
        if fired:
            axes.plot(
                [_number(moment) for moment in fired], [1.12 * top] * len(fired),
                linestyle="", marker="v", markersize=7, color=_COLOURS[severity], markeredgecolor="white",
                markeredgewidth=0.5, label=f"{severity} alert",
            )  # fmt: skip
    _finish(axes, first, last)
    axes.set_title(f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, UTC", fontsize=9.5, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9, borderpad=0.1)


def _around(
    axes: Axes,
    hours: Mapping[datetime, int],
    spikes: Sequence[Spike],
    strongest: Spike,
    first: datetime,
    last: datetime,
) -> None:
    since = bucket_start(max(strongest.start - _BEFORE, first), 3600)
    until = bucket_start(max(min(strongest.end + _AFTER, last), strongest.end), 3600) + _HOUR
    starts, counts = _series(hours, since, until)
    axes.bar(starts, counts, _number(since + _HOUR) - _number(since), align="edge", color=_PALE, edgecolor="white")
    shown = [spike for spike in spikes if spike.end > since and spike.start < until]
    top = max([counts.max(), 1.0, *(_rate(spike, max(spike.observed, spike.high or 0.0)) for spike in shown)])
    for spike in shown:
        window = start, end = _number(spike.start), _number(spike.end)
        colour = _COLOURS[spike.severity]
        axes.axvspan(start, end, color=colour, alpha=0.16, linewidth=0, zorder=0)
        axes.axvline(_number(spike.detected_at), color=colour, linewidth=1.2)
        axes.hlines(_rate(spike, spike.observed), start, end, color=colour, linewidth=2.2, label="seen in the window")
        axes.hlines(
            _rate(spike, spike.expected), start, end,
            color=_LEVEL, linestyle="--", linewidth=1.4, label="expected in it",
        )  # fmt: skip
        if spike.low is not None and spike.high is not None:
            axes.fill_between(
                window, _rate(spike, spike.low), _rate(spike, spike.high),
                color="0.35", alpha=0.3, linewidth=0, label="95 % band of that",
            )  # fmt: skip
    axes.set_ylim(0, 1.08 * top)
    _finish(axes, since, until)
    band = "" if strongest.low is None or strongest.high is None else f" ({strongest.low:g} to {strongest.high:g})"
    axes.set_title(
        f"{strongest.detected_at:%Y-%m-%d %H:%M}: {strongest.observed} in {_length(strongest)},"
        f" {few(strongest.expected)}{band} expected",
        fontsize=9.5,
        loc="left",
    )
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = sorted(once, key=labels.index)
    axes.legend(
        [once[name] for name in names], names,
        loc="upper left", bbox_to_anchor=(-0.01, -0.09), ncols=3, frameon=False, fontsize=9, borderpad=0.1,
    )  # fmt: skip


def _finish(axes: Axes, since: datetime, until: datetime) -> None:
    locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, tz=UTC, show_offset=False,
        formats=["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M"],
        zero_formats=["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
    )  # fmt: skip
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlim(_number(since), _number(max(until, since + _HOUR)))
    axes.set_ylabel("negative stories an hour", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _series(hours: Mapping[datetime, int], since: datetime, until: datetime) -> tuple[Any, Any]:
    """The hours that `since` and `until` lie in, and all between; one with nothing counts 0."""
    start = bucket_start(since, 3600)
    steps = int((until - start) / _HOUR) + 2
    moments = [start + number * _HOUR for number in range(steps)]
    return np.array([_number(moment) for moment in moments]), np.array([hours.get(at, 0) for at in moments], np.float64)


def _number(moment: datetime) -> float:
    number: float = date2num(moment)  # type: ignore[no-untyped-call]
    return number


def _rate(spike: Spike, stories: float) -> float:
    return stories * 3600 / (spike.end - spike.start).total_seconds()


def _length(spike: Spike) -> str:
    minutes = round((spike.end - spike.start).total_seconds() / 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
