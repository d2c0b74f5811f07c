"""Posteriors of a long file over time, above its waveform."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lam_sb.features.audio import SAMPLE_RATE, load_audio

POINTS = 2000  # of a waveform, each a least and a largest sample
COLOURS = ("#777777", "#d98200", "#c43c35", "#3f6fb5")  # of the emotions


def draw_files(table: Path, labels: list[str]) -> Path:
    """Draw each file of several windows in a table that ``predict`` wrote.

    Arguments
    ---------
    table : Path
        The CSV file.
    labels : list[str]
        The emotions.

    Returns
    -------
    Path
        Folder of the PNG files, beside the table.
    """
    folder = table.with_name(f"{table.stem}_plots")
    folder.mkdir(exist_ok=True)
    rows = pd.read_csv(table, dtype={"path": str})
    for number, (path, own) in enumerate(rows.groupby("path", sort=False)):
        if len(own) > 1:
            name = re.sub(r"\W+", "_", Path(path).stem)
            draw_file(own, labels, folder / f"{number:05d}_{name}.png")
    return folder


@matplotlib.rc_context({"font.size": 9, "axes.spines.top": False})
def draw_file(rows: pd.DataFrame, labels: list[str], path: Path) -> None:
    """Draw one file.

    Arguments
    ---------
    rows : pd.DataFrame
        Its windows in order, as ``predict`` writes them.
    labels : list[str]
        The emotions.
    path : Path
        Gets the picture.
    """
    source = rows["path"].iloc[0]
    edges = [*rows["start"], rows["end"].iloc[-1]]
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    for label, colour in zip(labels, COLOURS, strict=False):
        values = [*rows[label], rows[label].iloc[-1]]
        top.step(edges, values, where="post", label=label, color=colour)
    top.set(title=Path(source).name, ylabel="posterior", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=len(labels))
    wav = load_audio(source).numpy()
    step = max(1, len(wav) // POINTS)
    shaped = wav[: len(wav) // step * step].reshape(-1, step)
    times = np.arange(len(shaped)) * step / SAMPLE_RATE
    bottom.fill_between(times, shaped.min(1), shaped.max(1), color="#777777")
    bottom.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, edges[-1]))
    figure.savefig(path, dpi=120)
