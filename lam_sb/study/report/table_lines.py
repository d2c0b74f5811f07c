"""Lines of table1.csv, table2.csv and table3.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import Cell, Column, Table, cautions, name_of
from lam_sb.evaluation.statistics import Comparison, Estimate
from lam_sb.study.report.emotions import emotion_scores
from lam_sb.study.report.grids import Grid
from lam_sb.study.report.paper import paper_emotion_uar, paper_uar


def score_lines(tables: Sequence[Table], paper: bool) -> list[dict]:
    """Make the lines of table2.csv.

    Arguments
    ---------
    tables : Sequence[Table]
        Numbered from 1.
    paper : bool
        Whether to add the paper's UAR.

    Returns
    -------
    list[dict]
        One for each table, system and column. UARs are fractions;
        ``difference`` is LAM-GL minus the system; None where unknown.
    """
    lines = []
    for line, table, (system, column) in _cells(tables):
        cell = table.cells[system, column]
        found = table.differences.get((system, column))
        doubts = cautions(cell.estimate)
        if found is not None:
            doubts += cautions(found.comparison.estimate)
        lines.append(
            line
            | _uar_fields(cell.estimate)
            | _run_fields(cell)
            | _difference_fields(found and found.comparison)
            | {
                "p_greater": found and found.comparison.p_greater,
                "p_holm": found and found.p_holm,
                "mark": found and found.mark,
                "cautions": ";".join(dict.fromkeys(doubts)),
                "paper_uar": _fraction(paper and paper_uar(system, column)),
                "results": _paths(cell),
            }
        )
    return lines


def emotion_lines(tables: Sequence[Table], paper: bool) -> list[dict]:
    """Make the lines of table3.csv.

    Arguments
    ---------
    tables : Sequence[Table]
        Numbered from 1.
    paper : bool
        Whether to add the paper's one-vs-rest UAR.

    Returns
    -------
    list[dict]
        One for each table, system, column and emotion. UARs are fractions;
        ``difference`` is the segment minus the utterance; None where unknown.
    """
    scores = {id(table): emotion_scores(table) for table in tables}
    lines = []
    for line, table, key in _cells(tables):
        cell = table.cells[key]
        for emotion in EMOTIONS:
            score = scores[id(table)].get((*key, emotion))
            if score is None:
                continue
            number = paper and paper_emotion_uar(*key, emotion)
            lines.append(
                line
                | {"emotion": emotion}
                | _uar_fields(score.estimate)
                | _run_fields(cell)
                | _difference_fields(score.comparison)
                | {
                    "p_holm": score.p_holm,
                    "cautions": ";".join(cautions(score.estimate)),
                    "paper_uar": _fraction(number),
                    "results": _paths(cell),
                }
            )
    return lines


def grid_lines(grids: Sequence[Grid]) -> list[dict]:
    """Make the lines of table1.csv: the entries of grids.

    Arguments
    ---------
    grids : Sequence[Grid]
        Numbered from 1.

    Returns
    -------
    list[dict]
        One for each entry that is not empty.
    """
    return [
        {"grid": n, "row": name, "column": column, "layers": entry.text}
        for n, grid in enumerate(grids, start=1)
        for group in grid.groups
        for name, entries in group
        for column, entry in zip(grid.column_names(), entries, strict=True)
        if entry.text
    ]


def to_csv(lines: Sequence[Mapping]) -> str:
    r"""Set lines as CSV.

    Arguments
    ---------
    lines : Sequence[Mapping]
        At least one, all with the same keys. Fractions get six digits; None
        and nan become empty.

    Returns
    -------
    str
        With a header.

    Example
    -------
    >>> to_csv([{"uar": 2 / 3, "seeds": 5, "low": math.nan, "mark": None}])
    'uar,seeds,low,mark\n0.666667,5,,\n'
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: _field(value) for key, value in line.items()})
    return text.getvalue()


def _field(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6f}"


def _cells(
    tables: Sequence[Table],
) -> Iterator[tuple[dict, Table, tuple[str, Column]]]:
    """Give the fields that say where a cell stands, its table and its key."""
    for number, table in enumerate(tables, start=1):
        for system in table.systems:
            for column in table.columns:
                if (system, column) in table.cells:
                    line = {"table": number} | table.protocol
                    line |= {"system": system, "name": name_of(system)}
                    yield line | column._asdict(), table, (system, column)


def _uar_fields(estimate: Estimate) -> dict:
    low, high = np.clip([estimate.low, estimate.high], 0, 1).tolist()
    return {"uar": estimate.value, "low": low, "high": high}


def _run_fields(cell: Cell) -> dict:
    used = [run.results["target_labels_used"] for run in cell.runs]
    return {
        "seeds": cell.estimate.num_seeds,
        "speakers": cell.estimate.num_clusters,
        "n_test": len(cell.predictions.ids),
        "shots": cell.runs[0].results["shots"],
        "target_labels_used": max(used),
    }


def _difference_fields(comparison: Comparison | None) -> dict:
    estimate = comparison and comparison.estimate
    return {
        "difference": estimate and estimate.value,
        "difference_low": estimate and estimate.low,
        "difference_high": estimate and estimate.high,
        "p_two_sided": comparison and comparison.p_two_sided,
    }


def _fraction(percent: float | None) -> float | None:
    return percent / 100 if percent else None


def _paths(cell: Cell) -> str:
    return ";".join(run.path.as_posix() for run in cell.runs)
