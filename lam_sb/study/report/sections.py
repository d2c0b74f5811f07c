"""What the page shows behind the tables: a function a section.

Each takes a table of scores, and gives what the template of the section puts
into words and pictures; nothing where there is nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.breakdowns import (
    GenderScore,
    best_baseline,
    by_gender,
    by_speaker,
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
from lam_sb.study.report.notes import with_interval
from lam_sb.study.report.plots import Line
from lam_sb.study.report.printed import Cell, make_frame, text_frame

PLAIN = "layer_atn"  # the control that is LAM-GL without alignment
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


def anchor_choice(table: ScoreTable) -> list[tuple]:
    """Give UARs by choice of anchored layers, and the control's, by column."""
    parts = []
    for column in table.columns:
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
        if lines.keys() - CONTROLS.keys():
            frame = make_frame(
                {
                    (s, 0): Cell(x.text, score=(s, column))
                    for s, x in lines.items()
                },
                {s: ("", line.label) for s, line in lines.items()},
                {0: ("UAR [95 %]",)},
            )
            plain = scores[PLAIN].estimate.value if PLAIN in scores else None
            parts.append((column, lines, frame, plain))
    return parts


def _with_anchors(system: str, results: Mapping) -> str:
    """Name a system with the layers that it anchors or leaves out."""
    name, anchors = name_of(system), results["anchor_layers"]
    if system == PLAIN or not anchors:
        return name
    if len(anchors) > 4 and anchors == results["layers"]:
        return f"{name}, all {len(anchors)}"
    return f"{name}{' without ' if system in CONTROLS else ' '}{anchors}"


def layer_shares(table: ScoreTable) -> list[tuple]:
    """Give shares and weights of the layers, at the end and by epoch."""
    parts = []
    for column in table.columns:
        frames = _layer_frames(_scores(table, column, table.systems))
        logs = {
            name_of(system): read_layers(score.runs)
            for system, score in _scores(
                table, column, (REFERENCE, PLAIN)
            ).items()
        }
        logs = {name: log for name, log in logs.items() if log}
        if frames or logs:
            parts.append((column, frames, logs))
    return parts


def _layer_frames(scores: Mapping[str, Score]) -> dict[str, pd.DataFrame]:
    """Shares and weights of a column, coloured on one scale."""
    values = {
        name: pd.DataFrame(
            {s: layer_means(score, key) for s, score in scores.items()}
        )
        for key, name in LAYER_VALUES.items()
    }
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


def learning_curves(table: ScoreTable) -> list[tuple]:
    """Give what LAM-GL, Layer-Atn and CC logged by steps."""
    parts = []
    for column in table.columns:
        scores = _scores(table, column, (REFERENCE, PLAIN, "cc"))
        logs = {s: read_history(score.runs) for s, score in scores.items()}
        logs = {name_of(system): log for system, log in logs.items() if log}
        if logs:
            parts.append((column, logs))
    return parts


def confusions(table: ScoreTable) -> list[tuple]:
    """Give the confusions of LAM-GL, Layer-Atn and the best baseline."""
    parts = []
    for column in table.columns:
        best = best_baseline(table, column)
        scores = _scores(table, column, (REFERENCE, PLAIN, best))
        frames = {}
        for system, score in scores.items():
            rates, counts = mean_confusion(score.predictions)
            cells = {
                (n, k): Cell(f"{100 * x:.1f}", shade=x)
                for (n, k), x in np.ndenumerate(rates)
                if not math.isnan(x)
            }
            rows = enumerate(zip(EMOTIONS, counts, strict=True))
            frames[system] = make_frame(
                cells,
                {
                    n: ("", f"{emotion} ({count})")
                    for n, (emotion, count) in rows
                },
                {k: (emotion,) for k, emotion in enumerate(EMOTIONS)},
            )
        if frames:
            parts.append((column, frames))
    return parts


def genders(
    table: ScoreTable, by_corpus: Mapping[str, Mapping[str, str]]
) -> dict:
    """Give UARs of women and men apart, and how many there are."""
    cells, columns, counts = {}, {}, {}
    for column in table.columns:
        known = by_corpus.get(column.target, {})
        for system, score in _scores(table, column, table.systems).items():
            parts = by_gender(score.predictions, known)
            counts.setdefault(column.label, _gender_counts(score, parts))
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
    texts = " ".join(cell.text for cell in cells.values())
    return {
        "frame": make_frame(cells, rows, columns),
        "counts": counts,
        "lacks_emotion": "‡" in texts,
        "has_few": "§" in texts,
    }


def _gender_counts(score: Score, parts: Mapping[str, GenderScore]) -> str:
    counts = [
        f"{gender} {part.num_rows} utterances of {part.estimate.num_clusters} "
        "speakers"
        for gender, part in parts.items()
    ]
    known = sum(part.num_rows for part in parts.values())
    unknown = len(score.predictions.ids) - known
    if not known:
        return "the genders are unknown"
    return ", ".join(counts + [f"unknown {unknown}"] * bool(unknown))


def speaker_scores(table: ScoreTable) -> list[tuple]:
    """Give UARs in % by speaker of LAM-GL, Layer-Atn and CC."""
    parts = []
    for column in table.columns:
        scores = _scores(table, column, (REFERENCE, PLAIN, "cc"))
        by_system = {s: by_speaker(x.predictions) for s, x in scores.items()}
        # Runs may have tested other rows; a speaker of all is compared.
        uars = pd.DataFrame(
            {
                name_of(s): 100 * speakers["uar"]
                for s, speakers in by_system.items()
            }
        ).dropna()
        if uars.empty:
            continue
        counts = next(iter(by_system.values())).drop(columns="uar")
        texts = uars.map("{:.1f}".format).join(counts)
        parts.append((column, uars, text_frame(texts), [*scores]))
    return parts
