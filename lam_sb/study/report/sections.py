"""What the page shows behind the tables: a function a section.

Each gives what the template of the section puts into words and pictures;
nothing where there is nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.breakdowns import (
    Log,
    best_baseline,
    by_gender,
    by_speaker,
    coverage_curve,
    layer_means,
    mean_confusion,
    read_history,
    read_layers,
)
from lam_sb.evaluation.catalogue import (
    ABLATIONS,
    CONTROLS,
    REFERENCE,
    SEGMENTS,
    name_of,
)
from lam_sb.evaluation.comparisons import Column, Score, ScoreTable
from lam_sb.evaluation.results import Run
from lam_sb.study.report.notes import with_interval
from lam_sb.study.report.plots import Line
from lam_sb.study.report.printed import Cell, make_frame, text_frame

PLAIN = "layer_atn"  # the control that is LAM-GL without alignment
COMPARED = (REFERENCE, "lam_plus", PLAIN, "cc")
ANCHORED = (REFERENCE, *ABLATIONS, *SEGMENTS, *CONTROLS)
LAYER_VALUES = {"layer_share": "Share", "layer_weights": "Alpha"}


def _scores(
    table: ScoreTable, column: Column, systems: Iterable[str | None]
) -> dict[str, Score]:
    """Scores of some systems in a column, as far as they are there."""
    return {
        system: table.scores[system, column]
        for system in systems
        if (system, column) in table.scores
    }


def control_lines(table: ScoreTable) -> dict[str, list[Line]]:
    """Give LAM-GL minus its controls as lines of a figure, by column."""
    by_column: dict[str, list[Line]] = {}
    for column in table.columns:
        for n, system in enumerate(CONTROLS):
            if (system, column) in table.differences:
                difference = table.differences[system, column]
                estimate = difference.comparison.estimate
                clear = bool(estimate.low > 0 or estimate.high < 0)
                line = Line(f"minus {name_of(system)}", estimate, "+", n, clear)
                by_column.setdefault(column.label, []).append(line)
    return by_column


def anchor_choice(table: ScoreTable, column: Column) -> tuple | None:
    """Give UARs by choice of anchored layers as lines and as a frame."""
    scores = _scores(table, column, ANCHORED)
    lines = {
        system: Line(
            _with_anchors(system, score.runs[0].results),
            score.estimate,
            kind=int(system in CONTROLS),
            filled=system in (REFERENCE, PLAIN),
        )
        for system, score in scores.items()
    }
    if not lines.keys() - CONTROLS.keys():
        return None
    cells = {(s, 0): Cell(x.text, score=(s, column)) for s, x in lines.items()}
    rows = {system: ("", line.label) for system, line in lines.items()}
    return lines, make_frame(cells, rows, {0: ("UAR [95 %]",)})


def _with_anchors(system: str, results: Mapping) -> str:
    """Name a system with the layers that it anchors or leaves out."""
    name, anchors = name_of(system), results["anchor_layers"]
    if system == PLAIN or not anchors:
        return name
    if len(anchors) > 4 and anchors == results["layers"]:
        return f"{name}, all {len(anchors)}"
    return f"{name}{' without ' if system in CONTROLS else ' '}{anchors}"


def layer_shares(table: ScoreTable, column: Column) -> tuple | None:
    """Give shares and weights of the layers, at the end and by epoch."""
    frames = _layer_frames(_scores(table, column, table.systems))
    logs = _logs(read_layers, _scores(table, column, (REFERENCE, PLAIN)))
    return (frames, logs) if frames or logs else None


def learning_curves(table: ScoreTable, column: Column) -> dict[str, Log]:
    """Give what LAM-GL, Layer-Atn and CC logged by steps.

    LAM-Plus, of several runs, has no log of its own.
    """
    return _logs(read_history, _scores(table, column, COMPARED))


def _logs(
    read: Callable[[Sequence[Run]], Log | None], scores: Mapping[str, Score]
) -> dict[str, Log]:
    """Read logs, as far as they are there, by the name of the system."""
    logs = {name_of(s): read(score.runs) for s, score in scores.items()}
    return {name: log for name, log in logs.items() if log}


def _layer_frames(scores: Mapping[str, Score]) -> dict[str, pd.DataFrame]:
    """Shares and weights of a column, coloured on one scale."""
    values = {}
    for key, name in LAYER_VALUES.items():
        means = {s: layer_means(score, key) for s, score in scores.items()}
        values[name] = pd.DataFrame(means)
    mixed = [
        s for s in scores if all(v[s].count() > 1 for v in values.values())
    ]
    # Above 0 where a layer has more than if all of its system were even.
    excess = {n: v[mixed] * v[mixed].count() - 1 for n, v in values.items()}
    if not mixed:
        return {}
    most = max(e.abs().max().max() for e in excess.values()) or 1
    frames = {}
    for name, by_system in values.items():
        cells = {}
        for system in mixed:
            results = scores[system].runs[0].results
            anchors = results["anchor_layers"] if results["gamma"] else []
            for layer, value in by_system[system].dropna().items():
                shade = excess[name].at[layer, system] / most
                text = f"{100 * value:.1f}"
                cells[system, layer] = Cell(text, layer in anchors, shade=shade)
        rows = {s: ("", name_of(s)) for s in mixed}
        layers = sorted({layer for _, layer in cells})
        frames[name] = make_frame(cells, rows, {n: (str(n),) for n in layers})
    return frames


def confusions(table: ScoreTable, column: Column) -> dict[str, pd.DataFrame]:
    """Give the confusions of LAM-GL, Layer-Atn and the best baseline."""
    best = best_baseline(table, column)
    frames = {}
    for system, score in _scores(
        table, column, (REFERENCE, PLAIN, best)
    ).items():
        rates, counts = mean_confusion(score.predictions)
        cells = {
            (EMOTIONS[n], EMOTIONS[k]): Cell(f"{100 * x:.1f}", shade=x)
            for (n, k), x in np.ndenumerate(rates)
            if not math.isnan(x)
        }
        named = zip(EMOTIONS, counts, strict=True)
        rows = {emotion: ("", f"{emotion} ({n})") for emotion, n in named}
        frames[system] = make_frame(cells, rows, {e: (e,) for e in EMOTIONS})
    return frames


def coverage_curves(
    table: ScoreTable,
) -> dict[Column, dict[str, pd.DataFrame]]:
    """Give UARs by how many rows are kept, of LAM-GL and some others."""
    curves = {
        column: {
            name_of(system): coverage_curve(score, range(5, 101, 5))
            for system, score in _scores(table, column, COMPARED).items()
        }
        for column in table.columns
    }
    return {column: own for column, own in curves.items() if own}


def genders(
    table: ScoreTable, by_corpus: Mapping[str, Mapping[str, str]]
) -> dict:
    """Give UARs of women and men apart, and how many there are."""
    cells, columns, counts = {}, {}, {}
    for column in table.columns:
        known = by_corpus.get(column.target, {})
        for system, score in _scores(table, column, table.systems).items():
            parts = by_gender(score.predictions, known)
            number = len(score.predictions.ids)
            counts.setdefault(column.label, (parts, number))
            for gender, part in parts.items():
                text = with_interval(part.estimate)
                text += " ‡" * (part.num_classes < len(EMOTIONS))
                text += " §" * part.estimate.few_clusters
                cell = Cell(text, score=(system, column))
                cells[system, (column, gender)] = cell
                columns[column, gender] = column.label, gender
    if not cells:
        return {}
    rows = {system: ("", name_of(system)) for system in table.systems}
    return {
        "frame": make_frame(cells, rows, columns),
        "counts": counts,
        "texts": " ".join(cell.text for cell in cells.values()),
    }


def speaker_scores(table: ScoreTable, column: Column) -> tuple | None:
    """Give UARs in % by speaker, of LAM-GL and some others."""
    scores = _scores(table, column, COMPARED)
    by_system = {
        s: by_speaker(score.predictions) for s, score in scores.items()
    }
    uars = {name_of(s): 100 * part["uar"] for s, part in by_system.items()}
    # Runs may have tested other rows; a speaker of all is compared.
    shared = pd.DataFrame(uars).dropna()
    if shared.empty:
        return None
    counts = next(iter(by_system.values())).drop(columns="uar")
    texts = shared.map("{:.1f}".format).join(counts)
    return shared, text_frame(texts), [*scores]
