"""Table 3: one emotion against the rest, by what LAM-GL aligns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import REFERENCE
from lam_sb.evaluation.comparisons import Key, ScoreTable, order_columns
from lam_sb.evaluation.one_vs_rest import emotion_scores
from lam_sb.study.report import notes
from lam_sb.study.report.paper import paper_emotion_uar
from lam_sb.study.report.printed import PAPER, Cell, PrintedTable, make_frame

# What LAM-GL aligns, in Table 3's words.
SEGMENT_NAMES = {
    REFERENCE: "utterance (Uttr)",
    "lam_gl_vowl": "vowels (Vowl)",
    "lam_gl_cons": "consonants (Cons)",
}


def emotion_tables(table: ScoreTable, paper: bool) -> list[PrintedTable]:
    """Print Table 3.

    Arguments
    ---------
    table : ScoreTable
        With LAM-GL and LAM-GL on a segment in at least one column.
    paper : bool
        Whether the paper's own numbers stand beside ours.

    Returns
    -------
    list[PrintedTable]
        For each direction, one-vs-rest UARs in %, and segments minus the
        whole utterance in points.
    """
    uars, differences = _uar_cells(table), _difference_cells(table)
    columns = order_columns(column for (_, column), _ in uars)
    printed = []
    for direction, group in groupby(columns, lambda column: column.direction):
        keys = [
            (system, column)
            for column in group
            for system in SEGMENT_NAMES
            if any(((system, column), emotion) in uars for emotion in EMOTIONS)
        ]
        printed += [
            _uar_table(table, direction, keys, uars, paper),
            _difference_table(table, direction, keys, differences),
        ]
    return printed


def _uar_cells(table: ScoreTable) -> dict[tuple[Key, str], Cell]:
    """UARs by row and emotion, the best of a direction and emotion in bold."""
    scores = emotion_scores(table)
    best: dict[tuple[str, str], float] = {}
    for (_, column, emotion), score in scores.items():
        at, value = (column.direction, emotion), score.estimate.value
        best[at] = max(value, best.get(at, value))
    return {
        ((system, column), emotion): Cell(
            notes.with_interval(score.estimate),
            score.estimate.value == best[column.direction, emotion],
            (system, column),
        )
        for (system, column, emotion), score in scores.items()
    }


def _difference_cells(table: ScoreTable) -> dict[tuple[Key, str], Cell]:
    return {
        ((system, column), emotion): Cell(
            notes.with_p(score.comparison.estimate, score.p_holm),
            score=(system, column),
        )
        for (system, column, emotion), score in emotion_scores(table).items()
        if score.comparison
    }


def _uar_table(
    table: ScoreTable,
    direction: str,
    keys: Sequence[Key],
    cells: dict[tuple[Key, str], Cell],
    paper: bool,
) -> PrintedTable:
    columns = {}
    for emotion in EMOTIONS:
        columns[emotion] = direction, emotion
        numbers = {key: paper_emotion_uar(*key, emotion) for key in keys}
        if paper and any(numbers.values()):
            columns[emotion, PAPER] = direction, PAPER
            for key, number in numbers.items():
                text = f"{number:.2f}" if number else ""
                cells[key, (emotion, PAPER)] = Cell(text)
    shown = {key: table.scores[key] for key in keys}
    return PrintedTable(
        number=3,
        title=(
            "UAR of one emotion against the rest, (recall + specificity) / 2 "
            "in %, of the four-class model, by what LAM-GL aligns."
        ),
        frame=make_frame(cells, {key: _row(key) for key in keys}, columns),
        protocol=notes.describe_protocol(table.protocol),
        sizes=notes.describe_sizes(shown),
        cautions=[notes.INTERVALS, *notes.caution_notes(shown)],
    )


def _row(key: Key) -> tuple[str, str]:
    """Group and name of a row."""
    system, column = key
    return column.encoder, f"{column.encoder}, {SEGMENT_NAMES[system]}"


def _difference_table(
    table: ScoreTable,
    direction: str,
    keys: Sequence[Key],
    cells: dict[tuple[Key, str], Cell],
) -> PrintedTable:
    rows = {key: _row(key) for key in keys if key[0] != REFERENCE}
    shown = {key: table.scores[key] for key in keys}
    return PrintedTable(
        number=3,
        title=(
            "LAM-GL on vowels or consonants minus LAM-GL on the whole "
            "utterance: difference of the one-vs-rest UARs in points."
        ),
        frame=make_frame(cells, rows, {e: (direction, e) for e in EMOTIONS}),
        protocol=notes.describe_protocol(table.protocol),
        notes=[
            "Intervals of differences are two-sided and not corrected. p, "
            "two-sided, Holm-corrected over the emotions and the segments of "
            "one encoder and direction.",
        ],
        cautions=[notes.INTERVALS, *notes.caution_notes(shown)],
        is_main=False,
    )
