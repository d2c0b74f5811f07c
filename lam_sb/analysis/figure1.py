"""Figures of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lam_sb.files import whole_file

# Okabe & Ito's colours, which the colour-blind tell apart, and marks for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "^", "D", "v", "P")
REFERENCES = {  # thin lines, by the ending of the measure's name
    "within_source": ("--", "within the source"),
    "within_target": (":", "within the target"),
    "mismatched": ("-", "mismatched emotions"),
    "without_top3": ("-.", "without the three largest dimensions"),
}
PANEL = (2.4, 2.0)  # inches
LEGEND = 7.0  # inches that the legend takes at least
# No date and no version: equal analyses give equal files.
METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def draw_similarity(
    tables: Mapping[str, Sequence[Mapping]],
    selected: Mapping[str, Sequence[int]],
    measure: str,
    title: str,
    path: str | Path,
) -> None:
    """Draw Figure 1: similarity of the corpora by layer.

    A row of panels a segment, a panel an emotion, a line an encoder with its
    95 % interval shaded; references are thin, selected layers filled. Of one
    emotion, a panel a segment.

    Arguments
    ---------
    tables : Mapping[str, Sequence[Mapping]]
        Rows of `lam_sb.analysis.similarity.similarity_rows` by encoder.
    selected : Mapping[str, Sequence[int]]
        Layers to mark by encoder.
    measure : str
        Measure that is drawn, with its references.
    title : str
        Above all panels.
    path : str | Path
        The file; its ending decides the format.
    """
    rows = [
        row
        for table in tables.values()
        for row in table
        if row["measure"] == measure
    ]
    segments = list(dict.fromkeys(row["segment"] for row in rows))
    emotions = list(dict.fromkeys(row["emotion"] for row in rows))
    panels = [
        (segment, emotion) for segment in segments for emotion in emotions
    ]
    figure, grid = _make_grid(len(segments), len(emotions))
    for (segment, emotion), ax in zip(panels, grid.flat, strict=False):
        for n, (encoder, table) in enumerate(tables.items()):
            here = [
                row
                for row in table
                if (row["segment"], row["emotion"]) == (segment, emotion)
            ]
            _draw_encoder(ax, here, measure, n, encoder, selected[encoder])
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    _name_panels(grid, segments, emotions, measure)
    figure.suptitle(f"{title}, all emotions" if emotions == ["all"] else title)
    _label(figure, grid)
    with whole_file(Path(path)) as temporary:
        kind = Path(path).suffix[1:]
        figure.savefig(temporary, format=kind, dpi=200, metadata=METADATA[kind])


def _make_grid(segments: int, emotions: int) -> tuple[Figure, np.ndarray]:
    """Make a row of panels a segment; of one emotion, three segments a row."""
    rows, columns = segments, emotions
    if emotions == 1:
        columns = min(segments, 3)
        rows = -(-segments // columns)
    figure = Figure(
        (max(PANEL[0] * columns, LEGEND), PANEL[1] * rows + 1.2),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    share = "row" if emotions > 1 else False
    grid = figure.subplots(
        rows, columns, sharex=True, sharey=share, squeeze=False
    )
    return figure, grid


def _name_panels(
    grid: np.ndarray,
    segments: Sequence[str],
    emotions: Sequence[str],
    measure: str,
) -> None:
    """Say what each panel shows."""
    if len(emotions) == 1:
        for segment, ax in zip(segments, grid.flat, strict=False):
            ax.set_title(segment)
        for ax in grid[:, 0]:
            ax.set_ylabel(measure)
        return
    for emotion, ax in zip(emotions, grid[0], strict=True):
        ax.set_title(emotion)
    for segment, ax in zip(segments, grid[:, 0], strict=True):
        ax.set_ylabel(f"{segment}\n{measure}")


def _label(figure: Figure, grid: np.ndarray) -> None:
    """Add axes and one legend for all panels."""
    for column in grid.T:
        ax = [ax for ax in column if ax.get_visible()][-1]
        ax.set_xlabel("layer")
        ax.tick_params(labelbottom=True)
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles = {}
    for ax in grid.flat:
        ax.grid(linewidth=0.3)
        ax.ticklabel_format(axis="y", useOffset=False)
        lines, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=2
    )


def _draw_encoder(
    ax: Axes,
    rows: Sequence[Mapping],
    measure: str,
    number: int,
    encoder: str,
    selected: Sequence[int],
) -> None:
    """Draw an encoder's line, interval and references in one panel."""
    curves = {  # by measure: layers, values, lows, highs
        name: [
            [row[key] for row in rows if row["measure"] == name]
            for key in ("layer", "value", "low", "high")
        ]
        for name in dict.fromkeys(row["measure"] for row in rows)
    }
    colour, mark = COLOURS[number % 6], MARKS[number % 6]
    for ending, (style, label) in REFERENCES.items():
        name = f"{measure}:{ending}"
        if name in curves:
            look = {"color": colour, "linewidth": 0.7, "label": label}
            ax.plot(*curves[name][:2], style, **look)
    if measure not in curves:
        return
    layers, values, low, high = curves[measure]
    look = {"color": colour, "marker": mark}
    line = {"markerfacecolor": "white", "markersize": 5, "linewidth": 1.6}
    ax.plot(layers, values, label=encoder, **look, **line)
    if None not in low:
        ax.fill_between(layers, low, high, color=colour, alpha=0.2, linewidth=0)
    marked = [n for n, layer in enumerate(layers) if layer in selected]
    ax.plot(
        [layers[n] for n in marked],
        [values[n] for n in marked],
        label=f"{encoder}, selected",
        linestyle="none",
        markersize=6,
        **look,
    )
