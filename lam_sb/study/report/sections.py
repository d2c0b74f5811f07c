"""What the page shows behind the tables: a function a section.

Each takes a table of scores and the study's findings, and gives what the
template of the same section shows; None where there is nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import (
    ABLATIONS,
    CONTROLS,
    REFERENCE,
    SEGMENTS,
    name_of,
)
from lam_sb.evaluation.comparisons import (
    MIN_CLAIM_SEEDS,
    Column,
    Score,
    ScoreTable,
)
from lam_sb.study.report.breakdowns import (
    GenderScore,
    best_baseline,
    by_gender,
    by_speaker,
    layer_means,
    mean_confusion,
    read_history,
    read_layers,
)
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.notes import with_interval
from lam_sb.study.report.plots import (
    Interval,
    draw_curves,
    draw_epochs,
    draw_intervals,
    draw_speakers,
)
from lam_sb.study.report.printed import Cell, make_frame

PLAIN = "layer_atn"  # the control that is LAM-GL without alignment
ANCHORED = (REFERENCE, *ABLATIONS, *SEGMENTS, *CONTROLS)
LAYER_VALUES = {"layer_share": "Share", "layer_weights": "Alpha"}


class Picture(NamedTuple):
    """An SVG, and what it shows for those who do not see it."""

    svg: bytes
    alt: str


def _scores(
    table: ScoreTable, column: Column, systems: Iterable[str | None]
) -> dict[str, Score]:
    """Scores of some systems in a column, as far as they are there."""
    return {
        system: table.scores[system, column]
        for system in systems
        if (system, column) in table.scores
    }


def _text_frame(
    rows: Mapping[str, Sequence[str]], heads: Sequence[str]
) -> pd.DataFrame:
    """Frame of plain texts by the name of the row."""
    return make_frame(
        {
            (name, head): Cell(text)
            for name, texts in rows.items()
            for head, text in zip(heads, texts, strict=True)
        },
        {name: ("", name) for name in rows},
        {head: (head,) for head in heads},
    )


def control_intervals(table: ScoreTable, _: Findings) -> dict | None:
    """LAM-GL minus its controls, drawn and counted."""
    groups: dict[str, list[Interval]] = {}
    counts = {}
    for n, system in enumerate(CONTROLS):
        estimates = {
            column: table.differences[system, column].comparison.estimate
            for column in table.columns
            if (system, column) in table.differences
        }
        for column, estimate in estimates.items():
            clear = estimate.low > 0 or estimate.high < 0
            line = Interval.of(
                f"minus {name_of(system)}", estimate, "+", n, bool(clear)
            )
            groups.setdefault(column.label, []).append(line)
        if estimates:
            values = estimates.values()
            counts[name_of(system)] = {
                "columns": len(values),
                "above": sum(e.low > 0 for e in values),
                "below": sum(e.high < 0 for e in values),
                "few": any(e.num_seeds < MIN_CLAIM_SEEDS for e in values),
            }
    if not counts:
        return None
    groups = {
        c.label: groups[c.label] for c in table.columns if c.label in groups
    }
    numbers = "; ".join(
        f"{label}: " + ", ".join(f"{line.label} {line.text}" for line in lines)
        for label, lines in groups.items()
    )
    svg = draw_intervals(groups, "difference of UAR (points)", 0)
    alt = f"LAM-GL minus its controls. {numbers}."
    return {"counts": counts, "picture": Picture(svg, alt)}


def anchor_choice(table: ScoreTable, _: Findings) -> list | None:
    """UAR by choice of anchored layers, against the controls."""
    parts = []
    for column in table.columns:
        scores = _scores(table, column, ANCHORED)
        if not scores.keys() - CONTROLS.keys():
            continue
        lines = {
            system: Interval.of(
                _with_anchors(system, score.runs[0].results),
                score.estimate,
                kind=int(system in CONTROLS),
                filled=system in (REFERENCE, PLAIN),
            )
            for system, score in scores.items()
        }
        values = {s: 100 * score.estimate.value for s, score in scores.items()}
        ranked = sorted(values, key=values.get, reverse=True)
        ranking = ", ".join(f"{name_of(s)} {values[s]:.1f}" for s in ranked)
        alt = f"UAR in percent by anchored layers, {column.label}: {ranking}."
        svg = draw_intervals(
            {"": [*lines.values()]}, "UAR (%)", values.get(PLAIN)
        )
        frame = make_frame(
            {
                (s, "uar"): Cell(line.text, score=(s, column))
                for s, line in lines.items()
            },
            {s: ("", line.label) for s, line in lines.items()},
            {"uar": ("UAR [95 %]",)},
        )
        parts.append((column, Picture(svg, alt), frame))
    return parts or None


def _with_anchors(system: str, results: Mapping) -> str:
    """Name a system with the layers that it anchors or leaves out."""
    name, anchors = name_of(system), results["anchor_layers"]
    if system == PLAIN or not anchors:
        return name
    if len(anchors) > 4 and anchors == results["layers"]:
        return f"{name}, all {len(anchors)}"
    return f"{name}{' without ' if system in CONTROLS else ' '}{anchors}"


def layer_shares(table: ScoreTable, _: Findings) -> list | None:
    """Shares and weights of the layers, at the end and by epoch."""
    parts = []
    for column in table.columns:
        frames = _layer_frames(table, column)
        picture = _epoch_picture(table, column)
        if frames or picture:
            parts.append((column, frames, picture))
    return parts or None


def _layer_frames(table: ScoreTable, column: Column) -> dict[str, pd.DataFrame]:
    """Shares and weights of a column, coloured on one scale."""
    scores = _scores(table, column, table.systems)
    values = {
        name: pd.DataFrame(
            {s: layer_means(score, key) for s, score in scores.items()}
        ).T
        for key, name in LAYER_VALUES.items()
    }
    # Above 0 where a layer has more than if all of its system were even.
    excess = {
        name: frame.mul(frame.count(axis=1), axis=0) - 1
        for name, frame in values.items()
    }
    mixed = [
        s
        for s in scores
        if all(f.count(axis=1)[s] > 1 for f in values.values())
    ]
    if not mixed:
        return {}
    most = max(f.loc[mixed].abs().max().max() for f in excess.values()) or 1
    frames = {}
    for name, frame in values.items():
        cells = {}
        for system in mixed:
            results = scores[system].runs[0].results
            anchors = results["anchor_layers"] if results["gamma"] else []
            for layer, value in frame.loc[system].dropna().items():
                shade = excess[name].loc[system, layer] / most
                text = f"{100 * value:.1f}"
                cells[system, layer] = Cell(text, layer in anchors, None, shade)
        layers = sorted({layer for _, layer in cells})
        frames[name] = make_frame(
            cells,
            {s: ("", name_of(s)) for s in mixed},
            {layer: (str(layer),) for layer in layers},
        )
    return frames


def _epoch_picture(table: ScoreTable, column: Column) -> Picture | None:
    logs = {
        name_of(system): read_layers(score.runs)
        for system, score in _scores(table, column, (REFERENCE, PLAIN)).items()
    }
    logs = {name: log for name, log in logs.items() if log}
    if not logs:
        return None
    said = []
    for name, log in logs.items():
        share, alpha = (
            100 * log.values[key][:, -1].mean(0) for key in ("share", "alpha")
        )
        least, most = (log.layers[n] for n in (share.argmin(), share.argmax()))
        said.append(
            f"{name} after epoch {log.at[-1]}: shares from {share.min():.1f} % "
            f"(layer {least}) to {share.max():.1f} % (layer {most}), alpha "
            f"from {alpha.min():.1f} to {alpha.max():.1f} %"
        )
    alt = f"Heat maps by layer and epoch, {column.label}. {'; '.join(said)}."
    return Picture(draw_epochs(logs), alt)


def learning_curves(table: ScoreTable, _: Findings) -> list | None:
    """Validation UAR and losses by steps."""
    parts = []
    for column in table.columns:
        scores = _scores(table, column, (REFERENCE, PLAIN, "cc"))
        logs = {
            name_of(s): read_history(score.runs) for s, score in scores.items()
        }
        logs = {name: log for name, log in logs.items() if log}
        if not logs:
            continue
        said = []
        for name, log in logs.items():
            uars = 100 * log.values["valid_uar"].mean(0)
            losses = log.values["train_loss"].mean(0)
            said.append(
                f"{name} from {uars[0]:.1f} % at step {log.at[0]} to "
                f"{uars[-1]:.1f} % at step {log.at[-1]}, its training loss "
                f"from {losses[0]:.2f} to {losses[-1]:.2f}"
            )
        alt = f"Source validation UAR, {column.label}: {'; '.join(said)}."
        parts.append((column, Picture(draw_curves(logs), alt)))
    return parts or None


def confusions(table: ScoreTable, _: Findings) -> list | None:
    """Confusion matrices of LAM-GL, Layer-Atn and the best baseline."""
    parts = []
    for column in table.columns:
        systems = (REFERENCE, PLAIN, best_baseline(table, column))
        frames = {}
        for system, score in _scores(table, column, systems).items():
            rates, counts = mean_confusion(score.predictions)
            rows = zip(EMOTIONS, counts, strict=True)
            frames[system] = make_frame(
                {
                    (EMOTIONS[n], EMOTIONS[k]): Cell(f"{100 * x:.1f}", shade=x)
                    for (n, k), x in np.ndenumerate(rates)
                    if not math.isnan(x)
                },
                {emotion: ("", f"{emotion} ({n})") for emotion, n in rows},
                {emotion: (emotion,) for emotion in EMOTIONS},
            )
        if frames:
            parts.append((column, frames))
    return parts or None


def genders(table: ScoreTable, findings: Findings) -> dict | None:
    """UAR of women and men apart, where genders are known."""
    scores: dict[Column, dict[str, dict[str, GenderScore]]] = {}
    for column in table.columns:
        known = findings.genders.get(column.target, {})
        by_system = {
            system: by_gender(score.predictions, known)
            for system, score in _scores(table, column, table.systems).items()
        }
        scores[column] = {s: parts for s, parts in by_system.items() if parts}
    known_of = [column for column, by_system in scores.items() if by_system]
    if not known_of:
        return None
    by_encoder: dict[str, list[Column]] = {}
    for column in known_of:
        by_encoder.setdefault(column.encoder, []).append(column)
    parts = [
        part
        for by_system in scores.values()
        for by_gender in by_system.values()
        for part in by_gender.values()
    ]
    return {
        "frames": {
            encoder: _gender_frame(table, {c: scores[c] for c in columns})
            for encoder, columns in by_encoder.items()
        },
        "counts": {c: _gender_counts(table, c, scores[c]) for c in scores},
        "lacks_emotion": any(p.num_classes < len(EMOTIONS) for p in parts),
        "has_few": any(p.estimate.few_clusters for p in parts),
    }


def _gender_frame(
    table: ScoreTable,
    scores: Mapping[Column, Mapping[str, Mapping[str, GenderScore]]],
) -> pd.DataFrame:
    cells, columns = {}, {}
    for column, by_system in scores.items():
        for gender in sorted(set().union(*by_system.values())):
            columns[column, gender] = column.label, gender
        for system, parts in by_system.items():
            for gender, part in parts.items():
                text = with_interval(part.estimate)
                text += " ‡" * (part.num_classes < len(EMOTIONS))
                text += " §" * part.estimate.few_clusters
                cell = Cell(text, score=(system, column))
                cells[system, (column, gender)] = cell
    return make_frame(
        cells, {s: ("", name_of(s)) for s in table.systems}, columns
    )


def _gender_counts(
    table: ScoreTable,
    column: Column,
    by_system: Mapping[str, Mapping[str, GenderScore]],
) -> str:
    """Say how many utterances and speakers of each gender there are."""
    if not by_system:
        return "the genders are unknown"
    system, parts = next(iter(by_system.items()))
    counts = [
        f"{gender} {part.num_rows} utterances of {part.estimate.num_clusters} "
        "speakers"
        for gender, part in parts.items()
    ]
    total = len(table.scores[system, column].predictions.ids)
    unknown = total - sum(part.num_rows for part in parts.values())
    return ", ".join(counts + [f"unknown {unknown}"] * bool(unknown))


def speaker_scores(table: ScoreTable, _: Findings) -> list | None:
    """UAR by speaker of LAM-GL, Layer-Atn and CC."""
    parts = []
    for column in table.columns:
        scores = {
            system: by_speaker(score.predictions)
            for system, score in _scores(
                table, column, (REFERENCE, PLAIN, "cc")
            ).items()
        }
        if not scores:
            continue
        # Runs may have tested other rows; a speaker of all is compared.
        uars = pd.DataFrame(
            {s: part["uar"] for s, part in scores.items()}
        ).dropna()
        if uars.empty:
            continue
        values = {name_of(s): (100 * uars[s]).tolist() for s in uars}
        picture = Picture(draw_speakers(values), _speaker_alt(values, column))
        first = next(iter(scores.values())).loc[uars.index]
        heads = [*values, "utterances", "emotions"]
        rows = {
            name: [*(f"{100 * x:.1f}" for x in line), str(n), str(k)]
            for name, line, n, k in zip(
                uars.index,
                uars.to_numpy(),
                first["utterances"],
                first["emotions"],
                strict=True,
            )
        }
        parts.append((column, picture, _text_frame(rows, heads), [*scores]))
    return parts or None


def _speaker_alt(values: Mapping[str, list[float]], column: Column) -> str:
    first, *others = values
    said = [
        f"{name} from {min(uars):.1f} to {max(uars):.1f} %, median "
        f"{np.median(uars):.1f} %"
        for name, uars in values.items()
    ]
    for other in others:
        above = np.greater(values[first], values[other]).sum()
        count = len(values[first])
        said.append(f"{first} is above {other} for {above} of {count}")
    return f"UAR by speaker, {column.label}: {'; '.join(said)}."
