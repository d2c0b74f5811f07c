"""Figures of a study, as SVG that follows the reader's light or dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import blended_transform_factory

from lam_sb.analysis.figures import COLOURS, MARKS
from lam_sb.evaluation.metrics import Estimate
from lam_sb.study.report.breakdowns import Log
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
STYLES = ("-", "--", ":")
# The salt makes the names of equal drawings equal; text is drawn as paths, so
# that it looks the same without the fonts.
LOOK = {
    "svg.hashsalt": "lam_sb",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.color": LINE,
    **dict.fromkeys(
        (
            *("text.color", "axes.edgecolor", "axes.labelcolor"),
            *("xtick.color", "ytick.color"),
        ),
        INK,
    ),
}


class Interval(NamedTuple):
    """A value with its interval, in percent; nan where there is none."""

    label: str  # at its left
    value: float
    low: float
    high: float
    text: str  # at its right
    kind: int = 0  # chooses colour and mark
    filled: bool = True

    @classmethod
    def of(
        cls,
        label: str,
        estimate: Estimate,
        sign: str = "",
        kind: int = 0,
        filled: bool = True,
    ) -> Interval:
        """Make it of an estimate; a difference has the sign ``+``."""
        values = (estimate.value, estimate.low, estimate.high)
        text = with_interval(estimate, sign)
        return cls(label, *(100 * x for x in values), text, kind, filled)


@matplotlib.rc_context(LOOK)
def draw_intervals(
    groups: Mapping[str, Sequence[Interval]],
    axis: str,
    reference: float | None = None,
) -> bytes:
    """Draw values with their intervals as SVG, a line each.

    Arguments
    ---------
    groups : Mapping[str, Sequence[Interval]]
        From top to bottom, by the heading above them; no heading where that
        is empty.
    axis : str
        What the values are.
    reference : float | None
        Where to draw a line across.

    Returns
    -------
    bytes
        The SVG.
    """
    lines: list[Interval | str] = []
    for heading, intervals in groups.items():
        lines += [heading] * bool(heading) + list(intervals)
    figure = Figure((WIDTH, 0.23 * len(lines) + 0.65), layout="constrained")
    ax = figure.subplots()
    if reference is not None:
        ax.axvline(reference, color=INK, linewidth=0.8, linestyle="--")
    for y, line in enumerate(lines):
        if isinstance(line, Interval):
            _draw_interval(ax, y, line)
        else:
            _draw_heading(ax, y, line)
    right = ax.twinx()
    for axes, texts in (
        (ax, [getattr(line, "label", "") for line in lines]),
        (right, [getattr(line, "text", "") for line in lines]),
    ):
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks(range(len(lines)), texts)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.set_xlabel(axis)
    return _svg(figure)


def _draw_interval(ax: Axes, y: int, interval: Interval) -> None:
    colour = COLOURS[interval.kind % 6]
    ax.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.6)
    ax.plot(
        [interval.value],
        [y],
        marker=MARKS[interval.kind % 6],
        markersize=5.5,
        color=colour,
        markerfacecolor=colour if interval.filled else OPEN,
    )


def _draw_heading(ax: Axes, y: int, heading: str) -> None:
    """Write it from the figure's left edge on, over the grid."""
    text = ax.text(
        *(0.01, y, heading),
        transform=blended_transform_factory(
            ax.figure.transFigure, ax.transData
        ),
        bbox={"facecolor": OPEN, "edgecolor": "none", "pad": 1.5},
        fontweight="bold",
        verticalalignment="center",
    )
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
    for (system, log), axes in zip(logs.items(), grid, strict=True):
        ticks = _layer_ticks(log.layers)
        for key, ax in zip(keys, axes, strict=True):
            picture = ax.imshow(
                100 * log.values[key].mean(0).T,
                norm=norm,
                cmap="PuOr_r",
                aspect="auto",
                interpolation="none",
                origin="lower",
                extent=(
                    *(log.at[0] - 0.5, log.at[-1] + 0.5),
                    *(-0.5, len(log.layers) - 0.5),
                ),
            )
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


def _layer_ticks(layers: Sequence[int]) -> list[int]:
    """Positions of the layers that are named, every second of many."""
    return list(range(0, len(layers), 2 if len(layers) > 8 else 1))


@matplotlib.rc_context(LOOK)
def draw_curves(logs: Mapping[str, Log]) -> bytes:
    """Draw validation UAR and losses of up to three systems by steps.

    Means over the runs, with their ranges shaded.
    """
    panels = {
        "valid_uar": "source validation\nUAR (%)",
        "valid_loss": "source validation\nloss",
        "train_loss": "training loss",
    }
    figure = Figure((WIDTH, 4.4), layout="constrained")
    grid = figure.subplots(len(panels), sharex=True)
    for (key, label), ax in zip(panels.items(), grid, strict=True):
        factor = 100 if key == "valid_uar" else 1
        for n, (system, log) in enumerate(logs.items()):
            values = factor * log.values[key]
            look = {"color": COLOURS[n], "linestyle": STYLES[n]}
            ax.plot(log.at, values.mean(0), label=system, **look)
            ax.fill_between(
                *(log.at, values.min(0), values.max(0)),
                color=COLOURS[n],
                alpha=0.15,
                linewidth=0,
            )
        # Equation 1 may start at a hundred times the cross-entropy.
        if key != "valid_uar":
            _set_log(ax)
        ax.set_ylabel(label)
        ax.grid()
    grid[-1].set_xlabel("steps")
    figure.align_ylabels()
    _legend(figure, grid[0])
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
def draw_speakers(scores: Mapping[str, Sequence[float]]) -> bytes:
    """Draw speakers' UARs in % of up to six systems, sorted by the first's."""
    figure = Figure((WIDTH, 2.8), layout="constrained")
    ax = figure.subplots()
    first = next(iter(scores.values()))
    order = np.argsort(first, kind="stable")
    size = 5 if len(first) <= 40 else 3
    for n, (system, values) in enumerate(scores.items()):
        colour = COLOURS[n]
        ax.plot(
            np.arange(1, len(first) + 1),
            np.asarray(values)[order],
            linestyle="none",
            marker=MARKS[n],
            markersize=size,
            color=colour,
            markerfacecolor="none" if n else colour,
            label=system,
        )
    ax.set_ylabel("UAR (%)")
    ax.set_xlabel(f"speakers, sorted by {next(iter(scores))}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y")
    _legend(figure, ax)
    return _svg(figure)


def _legend(figure: Figure, ax: Axes) -> None:
    """Add one legend for all panels, below them."""
    handles, labels = ax.get_legend_handles_labels()
    place = "outside lower center"
    figure.legend(handles, labels, loc=place, ncols=len(labels))


def _svg(figure: Figure) -> bytes:
    """Write SVG with neither addresses nor dates, and with colours for dark."""
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None}
    )
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
