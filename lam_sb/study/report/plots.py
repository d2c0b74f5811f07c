"""Figures of a study, as SVG that follows the reader's light or dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import blended_transform_factory

from lam_sb.analysis.figure1 import COLOURS, MARKS
from lam_sb.evaluation.breakdowns import Log
from lam_sb.evaluation.statistics import Estimate
from lam_sb.study.report.notes import with_interval

WIDTH = 4.6  # inches, of every figure: legible on a telephone as well
INK, LINE = "#1c1d21", "#b9bcc3"
OPEN = "#ffffff"  # inside of open marks
DARK = {  # what a colour becomes in dark mode
    INK: "#e7e8ea",
    LINE: "#555a63",
    OPEN: "#15171b",
    "#0072b2": "#4aa8e0",
    "#d55e00": "#f0883a",
    "#009e73": "#2fc79b",
}
STYLES = ("-", "--", ":", "-.")
COLOURED = (
    *("text.color", "axes.edgecolor", "axes.labelcolor"),
    *("xtick.color", "ytick.color"),
)
# The salt makes the names of equal drawings equal; text is drawn as paths, so
# that it looks the same without the fonts.
LOOK = {
    "svg.hashsalt": "lam_sb",
    "svg.fonttype": "path",
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.color": LINE,
    "font.size": 9,
    "axes.titlesize": 9,
    **dict.fromkeys(COLOURED, INK),
}
PANELS = {  # of learning curves
    "valid_uar": "source validation\nUAR (%)",
    "valid_loss": "source validation\nloss",
    "train_loss": "training loss",
}


class Line(NamedTuple):
    """A value with its interval, a line of a figure."""

    label: str  # at its left; the numbers stand at its right
    estimate: Estimate
    sign: str = ""  # ``+`` of a difference
    kind: int = 0  # chooses colour and mark
    filled: bool = True

    @property
    def text(self) -> str:
        """Numbers in percent."""
        return with_interval(self.estimate, self.sign)


@matplotlib.rc_context(LOOK)
def draw_intervals(
    groups: Mapping[str, Sequence[Line]],
    axis: str,
    reference: float | None = None,
) -> bytes:
    """Draw values with their intervals, in groups with a heading or none.

    A dashed line stands at the reference, a fraction.
    """
    lines: list[Line | str] = []
    for heading, own in groups.items():
        lines += [heading] * bool(heading) + list(own)
    figure = Figure((WIDTH, 0.23 * len(lines) + 0.65), layout="constrained")
    ax = figure.subplots()
    if reference is not None:
        ax.axvline(100 * reference, color=INK, linewidth=0.8, linestyle="--")
    for y, line in enumerate(lines):
        draw = _draw_line if isinstance(line, Line) else _draw_heading
        draw(ax, y, line)
    for axes, name in (ax, "label"), (ax.twinx(), "text"):
        texts = [getattr(line, name, "") for line in lines]
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks(range(len(lines)), texts)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.set_xlabel(axis)
    return _svg(figure)


def _draw_line(ax: Axes, y: int, line: Line) -> None:
    estimate = line.estimate
    look = {"color": COLOURS[line.kind % 6], "markersize": 5.5}
    look["markerfacecolor"] = look["color"] if line.filled else OPEN
    limits = np.array([estimate.low, estimate.high])
    ax.plot(100 * limits, [y, y], color=look["color"], linewidth=1.6)
    ax.plot([100 * estimate.value], [y], marker=MARKS[line.kind % 6], **look)


def _draw_heading(ax: Axes, y: int, heading: str) -> None:
    """Write it from the figure's left edge on, over the grid."""
    where = blended_transform_factory(ax.figure.transFigure, ax.transData)
    box = {"facecolor": OPEN, "edgecolor": "none", "pad": 1.5}
    look = {"fontweight": "bold", "verticalalignment": "center"}
    text = ax.text(0.01, y, heading, transform=where, bbox=box, **look)
    text.set_in_layout(False)  # or it would take room from the axes


@matplotlib.rc_context(LOOK)
def draw_epochs(logs: Mapping[str, Log]) -> bytes:
    """Draw shares and weights by layer and epoch, a row of panels a system.

    Means over the runs on one scale, white where all layers are even.
    """
    figure = Figure((WIDTH, 1.55 * len(logs) + 0.75), layout="constrained")
    grid = figure.subplots(len(logs), 2, squeeze=False)
    keys = ("share", "alpha")
    means = [log.values[key].mean(0) for log in logs.values() for key in keys]
    even = 100 / means[0].shape[1]
    most = max(float(np.nanmax(abs(100 * mean - even))) for mean in means)
    norm = CenteredNorm(even, max(most, 0.1))
    look = {"cmap": "PuOr_r", "aspect": "auto", "interpolation": "none"}
    for (system, log), axes in zip(logs.items(), grid, strict=True):
        count = len(log.layers)
        ticks = [*range(0, count, 2 if count > 8 else 1)]
        edges = (log.at[0] - 0.5, log.at[-1] + 0.5, -0.5, count - 0.5)
        look |= {"norm": norm, "origin": "lower", "extent": edges}
        for key, ax in zip(keys, axes, strict=True):
            picture = ax.imshow(100 * log.values[key].mean(0).T, **look)
            ax.set_title(f"{system}, {key}")
            ax.set_yticks(ticks, [log.layers[n] for n in ticks])
            ax.xaxis.get_major_locator().set_params(integer=True, nbins=4)
        axes[0].set_ylabel("layer")
    for ax in grid[-1]:
        ax.set_xlabel("epoch")
    bar = figure.colorbar(
        picture, ax=grid, location="bottom", label="%", aspect=40, pad=0.02
    )
    bar.outline.set_visible(False)
    return _svg(figure)


@matplotlib.rc_context(LOOK)
def draw_curves(logs: Mapping[str, Log]) -> bytes:
    """Draw validation UAR and losses of up to three systems by steps.

    Means over the runs, with their ranges shaded.
    """
    figure = Figure((WIDTH, 4.4), layout="constrained")
    grid = figure.subplots(len(PANELS), sharex=True)
    for (key, label), ax in zip(PANELS.items(), grid, strict=True):
        factor = 100 if key == "valid_uar" else 1
        for n, (system, log) in enumerate(logs.items()):
            values = factor * log.values[key]
            look = {"color": COLOURS[n], "linestyle": STYLES[n]}
            ax.plot(log.at, values.mean(0), label=system, **look)
            look = {"color": COLOURS[n], "alpha": 0.15, "linewidth": 0}
            ax.fill_between(log.at, values.min(0), values.max(0), **look)
        # Equation 1 may start at a hundred times the cross-entropy.
        if key != "valid_uar":
            _set_log(ax)
        ax.set_ylabel(label)
        ax.grid()
    grid[-1].set_xlabel("steps")
    figure.align_ylabels()
    _add_legend(figure, grid[0])
    return _svg(figure)


def _set_log(ax: Axes) -> None:
    """Make the axis logarithmic, with plain numbers also in a short range."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    steps = (1, 2, 5) if high < 50 * low else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=steps, numticks=6))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


@matplotlib.rc_context(LOOK)
def draw_coverage(curves: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw the UAR of up to four systems by the share of rows kept.

    Points whose rows lack an emotion are left out.
    """
    figure = Figure((WIDTH, 2.8), layout="constrained")
    ax = figure.subplots()
    for n, (system, curve) in enumerate(curves.items()):
        uars = 100 * curve["uar"].mask(curve["lacks"])
        look = {"color": COLOURS[n], "linestyle": STYLES[n]}
        ax.plot(uars.index, uars, label=system, **look)
    ax.set_xlim(0, 100)
    ax.set_ylabel("UAR (%)")
    ax.set_xlabel("surest rows that are kept (%)")
    ax.grid()
    _add_legend(figure, ax)
    return _svg(figure)


@matplotlib.rc_context(LOOK)
def draw_speakers(uars: pd.DataFrame) -> bytes:
    """Draw UARs in %, speakers by up to six systems, sorted by the first's."""
    figure = Figure((WIDTH, 2.8), layout="constrained")
    ax = figure.subplots()
    first = uars.columns[0]
    uars = uars.sort_values(first, kind="stable")
    for n, system in enumerate(uars):
        ax.plot(
            np.arange(1, len(uars) + 1),
            uars[system],
            linestyle="none",
            marker=MARKS[n],
            markersize=5 if len(uars) <= 40 else 3,
            color=COLOURS[n],
            markerfacecolor="none" if n else COLOURS[n],
            label=system,
        )
    ax.set_ylabel("UAR (%)")
    ax.set_xlabel(f"speakers, sorted by {first}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y")
    _add_legend(figure, ax)
    return _svg(figure)


def _add_legend(figure: Figure, ax: Axes) -> None:
    """Add one legend for all panels, below them."""
    handles, labels = ax.get_legend_handles_labels()
    place = "outside lower center"
    figure.legend(handles, labels, loc=place, ncols=len(labels))


def _svg(figure: Figure) -> bytes:
    """Write SVG with neither addresses nor dates, and with colours for dark."""
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None}
    figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Text has the colour "fill: ...", lines have "stroke: ...".
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    start = svg.index(">") + 1
    return (svg[:start] + style + svg[start:]).encode()
