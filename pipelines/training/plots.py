"""Pictures of the figures: which labels are taken for which, and how far confidence can be believed."""

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.training.metrics import BINS, Figures, Interval

_DPI: Final = 120
_DARK: Final = 0.55  # from this share on, a cell is so dark that its number has to be white


def confusion(found: Figures, title: str) -> Figure:
    """A matrix of shares in per cent: each row is one true label and sums to 100. Cells below 0.5 are empty."""
    names = [figure.label for figure in found.classes]
    counts = np.array(found.confusion, np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 3.6 + 0.42 * len(names)
    picture = _blank(side + 0.6, side - 0.8)
    axes = picture.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if len(names) <= 8 else 7.5
    for (was, said), share in np.ndenumerate(shares):
        if share >= 0.005:
            ink = "white" if share > _DARK else "black"
            axes.text(said, was, f"{100 * share:.0f}", ha="center", va="center", fontsize=size, color=ink)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(ticks, [f"{figure.label} ({figure.support})" for figure in found.classes], fontsize=9)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.88", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("label given")
    axes.set_ylabel("true label (rows)")
    axes.set_title(f"{title}: {found.rows} rows, accuracy {_percent(found.accuracy)}", fontsize=11)
    bar = picture.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=lambda share, _: f"{100 * share:.0f} %")
    bar.set_label("share of the true label")
    return picture


def reliability(found: Figures, title: str) -> Figure:
    """Accuracy by confidence above, rows by confidence below; a calibrated model's bars end on the diagonal."""
    picture = _blank(6.4, 6.6)
    above, below = picture.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [part for part in found.reliability if part.rows]
    left, width = [part.low for part in filled], 1 / BINS
    sure = np.array([part.confidence for part in filled])
    right = np.array([part.accuracy for part in filled])
    above.bar(left, right, width, align="edge", color="#4c78a8", edgecolor="white", label="accuracy")
    above.bar(
        left, sure - right, width, bottom=right, align="edge", label="gap to confidence",
        facecolor="#e4572e40", edgecolor="#e4572e", hatch="///", linewidth=0.5,
    )  # fmt: skip
    above.plot((0, 1), (0, 1), linestyle="--", color="0.3", linewidth=1, label="calibrated")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.set_title(f"{title}: ECE {_percent(found.ece)}, NLL {found.nll:.3f}", fontsize=11)
    above.legend(loc="upper left", frameon=False)
    below.bar(left, [part.rows for part in filled], width, align="edge", color="0.55", edgecolor="white")
    below.set(xlabel="confidence of the label given", ylabel="rows")
    return picture


def save(picture: Figure, path: Path) -> None:
    """A PNG that is equal for equal figures."""
    picture.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


def _blank(width_in: float, height_in: float) -> Figure:
    picture = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(picture)
    return picture


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"
