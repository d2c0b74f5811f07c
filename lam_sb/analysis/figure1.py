"""Figure 1: similarity of two corpora by layer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
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
    selected: Mapping[str, Mapping],
    measure: str,
    title: str,
    paths: Sequence[Path],
) -> None:
    """Draw one measure with its references, by segment and emotion.

    A row of panels a segment, a panel an emotion, a line an encoder with its
    95 % interval shaded; references are thin, selected layers filled. Of one
    emotion, a panel a segment.

    ``tables`` are rows of `lam_sb.analysis.similarity.similarity_rows`, and
    ``selected`` what selection.json holds, by encoder: its group is marked, on
    vowels and consonants their own. The paths end in png or pdf.
    """
    table = pd.concat(
        pd.DataFrame(rows).assign(encoder=e) for e, rows in tables.items()
    )
    drawn = table[table["measure"] == measure]
    emotions = list(drawn["emotion"].unique())
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    panels = _make_panels(figure, drawn["segment"].unique(), emotions, measure)
    parts = dict(iter(table.groupby(["segment", "emotion", "encoder"])))
    for panel, ax in panels.items():
        for n, encoder in enumerate(tables):
            rows = parts.get((*panel, encoder))
            if rows is not None:
                selection = selected[encoder]
                group = selection.get(panel[0], selection)["group"]
                _draw_encoder(ax, rows, measure, n, encoder, group)
    figure.suptitle(f"{title}, all emotions" if emotions == ["all"] else title)
    handles = {}
    for ax in panels.values():
        lines, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=2
    )
    figure.draw_without_rendering()  # lays the panels out, once for all files
    figure.set_layout_engine(None)
    for path in paths:
        kind = path.suffix[1:]
        with whole_file(path) as temporary:
            figure.savefig(
                temporary, format=kind, dpi=200, metadata=METADATA[kind]
            )


def _make_panels(
    figure: Figure,
    segments: Sequence[str],
    emotions: Sequence[str],
    measure: str,
) -> dict[tuple[str, str], Axes]:
    """Make a row of panels a segment; of one emotion, three segments a row."""
    rows, columns = len(segments), len(emotions)
    one_emotion = columns == 1
    if one_emotion:
        columns = min(rows, 3)
        rows = -(-rows // columns)
    figure.set_size_inches(
        max(PANEL[0] * columns, LEGEND), PANEL[1] * rows + 1.2
    )
    share = False if one_emotion else "row"
    grid = figure.subplots(
        rows, columns, sharex=True, sharey=share, squeeze=False
    )
    keys = list(itertools.product(segments, emotions))
    panels = dict(zip(keys, grid.flat, strict=False))
    for (segment, emotion), ax in panels.items():
        place = ax.get_subplotspec()
        if one_emotion or place.is_first_row():
            ax.set_title(segment if one_emotion else emotion)
        if place.is_first_col():
            ax.set_ylabel(measure if one_emotion else f"{segment}\n{measure}")
        ax.grid(linewidth=0.3)
        ax.ticklabel_format(axis="y", useOffset=False)
    for ax in grid.flat[len(keys) :]:
        ax.set_visible(False)
    for column in grid.T:
        lowest = [ax for ax in column if ax.get_visible()][-1]
        lowest.set_xlabel("layer")
        lowest.tick_params(labelbottom=True)
        lowest.xaxis.get_major_locator().set_params(integer=True)
    return panels


def _draw_encoder(
    ax: Axes,
    rows: pd.DataFrame,
    measure: str,
    number: int,
    encoder: str,
    selected: Sequence[int],
) -> None:
    """Draw an encoder's line, interval and references in one panel."""
    curves = dict(iter(rows.groupby("measure")))
    colour, mark = COLOURS[number % 6], MARKS[number % 6]
    for ending, (style, label) in REFERENCES.items():
        curve = curves.get(f"{measure}:{ending}")
        if curve is not None:
            look = {"color": colour, "linewidth": 0.7, "label": label}
            ax.plot(curve["layer"], curve["value"], style, **look)
    if measure not in curves:
        return
    curve = curves[measure]
    look = {"color": colour, "marker": mark}
    line = {"markerfacecolor": "white", "markersize": 5, "linewidth": 1.6}
    ax.plot(curve["layer"], curve["value"], label=encoder, **look, **line)
    if curve["low"].notna().all():
        interval = curve["layer"], curve["low"], curve["high"]
        ax.fill_between(*interval, color=colour, alpha=0.2, linewidth=0)
    marked = curve[curve["layer"].isin(selected)]
    ax.plot(
        marked["layer"],
        marked["value"],
        label=f"{encoder}, selected",
        linestyle="none",
        markersize=6,
        **look,
    )
