"""How sure the systems are: calibration, and UARs of the surest rows."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from lam_sb.evaluation.breakdowns import coverage_curve, mean_calibration
from lam_sb.evaluation.calibration import COVERAGES
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, Score, ScoreTable
from lam_sb.study.report import notes
from lam_sb.study.report.printed import Cell, PrintedTable, make_frame
from lam_sb.study.report.score_tables import family_rows


def calibration_tables(table: ScoreTable) -> list[PrintedTable]:
    """Print how sure the systems are, and how right: a table a column."""
    return [_column_table(table, column) for column in table.columns]


def _column_table(table: ScoreTable, column: Column) -> PrintedTable:
    shown = {key: s for key, s in table.scores.items() if key[1] == column}
    cells: dict[tuple[str, str], Cell] = {}
    for key, score in shown.items():
        for name, text in _texts(score).items():
            cells[key[0], name] = Cell(text, score=key)
    rows = family_rows(table, {system for system, _ in shown})
    names = dict.fromkeys(name for _, name in cells)
    columns = {name: (column.label, name) for name in names}
    return PrintedTable(
        number=2,
        title="How sure the systems are, and how right, also on the rows that "
        "they are surest of.",
        frame=make_frame(cells, rows, columns),
        differing=notes.differing_note(table, shown),
        protocol=notes.describe_protocol(table.protocol),
        sizes=notes.describe_sizes(shown),
        notes=_explain(shown, cells),
        cautions=[notes.CALIBRATION, *notes.caution_notes(shown)],
        is_main=False,
    )


def _texts(score: Score) -> dict[str, str]:
    """Write the numbers of a system, by their names."""
    means = mean_calibration(score)
    texts = {"ECE (%)": f"{100 * means['ece']:.1f}"}
    before = [run.results.get("uncalibrated") for run in score.runs]
    if all(before):
        ece = fmean(scores["ece"] for scores in before)
        texts["ECE before calibration (%)"] = f"{100 * ece:.1f}"
    texts |= {
        "Brier score": f"{means['brier']:.3f}",
        "confidence (%)": f"{100 * means['confidence']:.1f}",
        "accuracy (%)": f"{100 * means['accuracy']:.1f}",
    }
    for percent, uar, lacks in coverage_curve(score, COVERAGES).itertuples():
        mark = f" {notes.LACKS}" * lacks
        texts[f"UAR (%), surest {percent} %"] = f"{100 * uar:.1f}{mark}"
    return texts | {"UAR (%), all rows": f"{100 * score.estimate.value:.1f}"}


def _explain(
    shown: notes.Scores, cells: Mapping[tuple[str, str], Cell]
) -> list[str]:
    """Explain marks, and posteriors that are none, a sentence each."""
    said = notes.mark_notes(shown, {})
    if any(notes.LACKS in cell.text for cell in cells.values()):
        said.append(
            f"{notes.LACKS} The surest rows of a seed lack an emotion: UAR "
            "over those that are there, not to be compared with others."
        )
    votes = [
        name_of(system)
        for (system, _), score in shown.items()
        if score.runs[0].results["system"] == "ensemble"
    ]
    if votes:
        said.append(
            f"The posteriors of {', '.join(votes)} are shares of the votes of "
            "three classifiers: they say how many agree, in a few steps."
        )
    return said
