"""Table 1: which layers an analysis selects, and which the runs anchored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lam_sb.evaluation.catalogue import REFERENCE, family_of
from lam_sb.evaluation.comparisons import Column, Score, ScoreTable
from lam_sb.study.report.notes import describe_protocol
from lam_sb.study.report.paper import paper_layers
from lam_sb.study.report.printed import Cell, PrintedTable, make_frame
from lam_sb.study.report.score_tables import Place, arrange, column_headers

# What an analysis selects, by the system that anchors it.
SELECTIONS = {
    REFERENCE: ("utterance", "group", "most similar (GL)"),
    "lam_bl": ("utterance", "best", "best (BL)"),
    "lam_wl": ("utterance", "worst", "least similar (WL)"),
    "lam_gl_vowl": ("vowels", "group", "most similar on vowels (Vowl)"),
    "lam_gl_cons": (
        *("consonants", "group"),
        "most similar on consonants (Cons)",
    ),
}


@dataclass(frozen=True)
class Analysis:
    """What ``python -m lam_sb analyse`` left of a column."""

    column: Column
    folder: Path  # with figure1.png
    selection: dict  # what selection.json holds


def selection_tables(
    analyses: Sequence[Analysis], paper: bool
) -> list[PrintedTable]:
    """Print which layers the analyses, at most one a column, select."""
    if not analyses:
        return []
    cells: dict[Place, Cell] = {}
    for analysis in analyses:
        for system, (segment, rule, _) in SELECTIONS.items():
            place = system, (analysis.column, False)
            cells[place] = Cell(_selected(analysis, segment, rule))
            _add_paper(cells, system, analysis.column, paper)
    shown = {system for (system, _), cell in cells.items() if cell.text}
    rows = {s: ("", SELECTIONS[s][2]) for s in SELECTIONS if s in shown}
    resampled = any(a.selection["stability"] for a in analyses)
    note = "In brackets: how many resamples of the speakers select the same."
    return [
        PrintedTable(
            number=1,
            title=(
                "Layers that the analysis of the training rows selects. "
                f"{_measures(analyses)}"
            ),
            frame=make_frame(cells, rows, column_headers(cells)),
            notes=[note] if resampled else [],
        )
    ]


def _measures(analyses: Sequence[Analysis]) -> str:
    """Say what the layers were ranked by."""
    hows = {True: "mean over the emotions", False: "without target labels"}
    measures = {
        f"{selection['measure']}, {hows[selection['use_target_labels']]}": None
        for selection in (analysis.selection for analysis in analyses)
    }
    return f"Similarity: {'; '.join(measures)}."


def _selected(analysis: Analysis, segment: str, rule: str) -> str:
    """Write what was selected on a segment, if it could be."""
    selection = analysis.selection
    if segment != "utterance":
        selection = selection.get(segment)
    if selection is None:
        return ""
    share = (selection["stability"] or {}).get(rule)
    again = "" if share is None else f" ({100 * share:.0f} %)"
    return layers_text(selection[rule]) + again


def anchor_tables(table: ScoreTable, paper: bool) -> list[PrintedTable]:
    """Print which layers the runs of a table anchored, and by which rule."""
    cells: dict[Place, Cell] = {}
    for (system, column), score in table.scores.items():
        text = _anchored(score)
        if text:
            cells[system, (column, False)] = Cell(text, score=(system, column))
            _add_paper(cells, system, column, paper)
    if not cells:
        return []
    return [
        PrintedTable(
            number=1,
            title="Layers that the runs anchored, and by which rule.",
            frame=arrange(table, cells),
            protocol=describe_protocol(table.protocol),
            is_main=False,
        )
    ]


def _add_paper(
    cells: dict[Place, Cell], system: str, column: Column, paper: bool
) -> None:
    """Add the layers that the paper anchors, if it has this system.

    Those of segments are in its Table 3, all others in Tables 1 and 2.
    """
    layers = paper and paper_layers(system, column)
    if layers:
        where = " (Table 3)" * (family_of(system) == "segments")
        cells[system, (column, True)] = Cell(layers_text(layers) + where)


def _anchored(score: Score) -> str:
    """Say which layers the runs of a score aligned, or left out."""
    counts = Counter()
    for run in score.runs:
        layers, mixed = run.results["anchor_layers"], run.results.get("layers")
        aligned = run.results.get("alignment") == "LayerCoral"
        left_out = not set(layers).intersection(mixed or layers)
        if layers and (aligned or left_out):
            text = "without " * left_out + layers_text(layers)
            counts[text, run.results["anchor_rule"]] += 1
    several = len(counts) > 1
    return "; ".join(
        f"{text} ({rule}{f', {count} of {counts.total()} runs' * several})"
        for (text, rule), count in counts.items()
    )


def layers_text(layers: Sequence[int]) -> str:
    """Write layers as a list, or many neighbours as a range."""
    layers = list(layers)
    if len(layers) > 3 and layers == [*range(layers[0], layers[-1] + 1)]:
        return f"{layers[0]}-{layers[-1]}"
    return ", ".join(map(str, layers))
