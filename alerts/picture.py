"""The trend of an alert as a picture: negative stories against what was expected, the window marked."""

import functools
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from alerts import words
from alerts.cleaning import isolate
from alerts.facts import key_name
from alerts.trend import end, headline, level
from monitor.domain.alerts import History, Notification
from monitor.domain.spikes import Severity, Spike

WIDTH_PX: Final = 580
"""Of the picture where it is shown; it holds twice as many, for phones."""

_SIZE_IN: Final = (4.4, 2.5)
_DPI: Final = 2 * WIDTH_PX / _SIZE_IN[0]
_BARS, _LEVEL, _INK, _UNHEARD, _DIM, _HATCH = "#4c78a8", "#222222", "#333333", "#9a9a9a", "#f1f1f1", "////"
_MAX_HATCHED: Final = 30  # stretches; slanted lines in more of them are noise, and long to write down
_COLOURS: Final = {Severity.WARNING: "#b7791f", Severity.SEVERE: "#c05621", Severity.CRITICAL: "#c53030"}
_PAD_IN: Final = 0.08
_MAX_NAME: Final = 40
_COLOURS_KEPT: Final = 96
_DASHES: Final = (0, (4, 2))
_DAY_S: Final = 86_400  # matplotlib counts in days


def draw(notification: Notification) -> bytes | None:
    """PNG on a white card, the same bytes for the same notification; None without a history.

    The global state of matplotlib is left alone, so it may run in a thread.

    Units: negative stories per bucket, times in UTC.
    """
    history, spike = notification.history, headline(notification)
    if history is None or not history.negative:
        return None
    picture = Figure(
        figsize=_SIZE_IN, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=_PAD_IN, h_pad=_PAD_IN), facecolor="white"
    )
    canvas = FigureCanvasAgg(picture)
    axes = picture.subplots()
    _bars(axes, history, spike)
    if spike is not None:
        _mark(axes, history, spike)
    _finish(axes, history, spike)
    marks = _legend(history, spike)
    if marks:
        picture.legend(
            handles=marks, loc="outside lower left",
            ncols=len(marks), frameon=False, fontsize=8, labelcolor=_INK,
            borderpad=0.1, columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(pixels).convert("RGB")
    written = io.BytesIO()
    # A palette makes it a third as long. Pillow writes no time and no name of a program.
    drawn.quantize(_COLOURS_KEPT, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        written, format="PNG", optimize=True
    )
    return written.getvalue()


def _bars(axes: Axes, history: History, spike: Spike | None) -> None:
    width_s = history.width_s
    starts = [history.start + timedelta(seconds=place * width_s) for place in range(len(history.negative))]
    colours = [_BARS] * len(starts)
    if spike is not None:
        inside = [start < spike.end and start + timedelta(seconds=width_s) > spike.start for start in starts]
        colours = [_COLOURS[spike.severity] if one else _BARS for one in inside]
    numbers = np.array([_number(start) for start in starts])
    axes.bar(numbers, _counts(history), 0.86 * width_s / _DAY_S, align="edge", color=colours, linewidth=0, zorder=3)
    missed = _stretches(history.heard)
    for first, last in missed:
        axes.axvspan(
            numbers[first], numbers[last] + width_s / _DAY_S,
            facecolor=_DIM, edgecolor=_UNHEARD, hatch=_HATCH if len(missed) <= _MAX_HATCHED else None,
            linewidth=0, zorder=1,
        )  # fmt: skip


def _counts(history: History) -> list[int]:
    return [count if heard else 0 for count, heard in zip(history.negative, history.heard, strict=True)]


def _stretches(heard: Iterable[bool]) -> list[tuple[int, int]]:
    """First and last bucket of each stretch that was not heard."""
    found: list[tuple[int, int]] = []
    for place, one in enumerate(heard):
        if one:
            continue
        if found and found[-1][1] == place - 1:
            found[-1] = found[-1][0], place
        else:
            found.append((place, place))
    return found


def _mark(axes: Axes, history: History, spike: Spike) -> None:
    colour = _COLOURS[spike.severity]
    axes.axvspan(_number(spike.start), _number(spike.end), color=colour, alpha=0.22, linewidth=0, zorder=2)
    axes.axhline(level(history, spike), color=_LEVEL, linestyle=_DASHES, linewidth=1.2, zorder=4)


def _finish(axes: Axes, history: History, spike: Spike | None) -> None:
    since, until = history.start, end(history)
    each = words.period(timedelta(seconds=history.width_s))
    name = key_name(history.key, _MAX_NAME)
    what = f"negative stories per {each}"
    title = f"{name}: {what}" if _is_drawable(name) else what.capitalize()
    axes.set_title(title, fontsize=9.5, loc="left", color=_INK, parse_math=False)
    top = max([1.0, *_counts(history), 0.0 if spike is None else level(history, spike)])
    axes.set_ylim(0, 1.1 * top)
    axes.set_xlim(_number(since), _number(until))
    locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=8)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, tz=UTC, show_offset=False,
        formats=["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M"],
        zero_formats=["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
    )  # fmt: skip
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(words.window(since, until), fontsize=8, color=_INK, loc="right")


def _legend(history: History, spike: Spike | None) -> list[Any]:
    handles: list[Any] = []
    if spike is not None:
        colour = _COLOURS[spike.severity]
        handles.append(Patch(facecolor=colour, label=f"window {spike.start:%H:%M} to {spike.end:%H:%M}"))
        told = f"expected: {words.amount(level(history, spike))} a bar"
        handles.append(Line2D([], [], color=_LEVEL, linestyle=_DASHES, linewidth=1.2, label=told))
    if not all(history.heard):
        handles.append(Patch(facecolor=_DIM, edgecolor=_UNHEARD, hatch=_HATCH, linewidth=0, label="not heard"))
    return handles


def _number(moment: datetime) -> float:
    number: float = date2num(moment)  # type: ignore[no-untyped-call]
    return number


def _is_drawable(text: str) -> bool:
    """Whether the font has every sign of it, in the order of reading from left to right: else it would warn, or lie."""
    return text == isolate(text) and all(ord(char) in _drawable() for char in text)


@functools.cache
def _drawable() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
