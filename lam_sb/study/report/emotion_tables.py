"""Table 3: one emotion against the rest, by what LAM-GL aligns."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import pandas as pd

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import REFERENCE
from lam_sb.evaluation.comparisons import Key, ScoreTable, order_columns
from lam_sb.evaluation.one_vs_rest import EmotionScores, emotion_scores
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
    """Print one-vs-rest UARs in %, and segments minus utterances in points.

    Two tables a direction, with the paper's own numbers if asked for.
    """
    scores = emotion_scores(table)
    keys = {(system, column): None for system, column, _ in scores}
    columns = order_columns(column for _, column in keys)
    printed = []
    for direction, group in groupby(columns, lambda column: column.direction):
        rows = {
            (system, column): (column.encoder, f"{column.encoder}, {name}")
            for column in group
            for system, name in SEGMENT_NAMES.items()
            if (system, column) in keys
        }
        printed += _direction_tables(table, scores, direction, rows, paper)
    return printed


def _direction_tables(
    table: ScoreTable,
    scores: EmotionScores,
    direction: str,
    rows: Mapping[Key, tuple[str, str]],
    paper: bool,
) -> list[PrintedTable]:
    shown = {key: table.scores[key] for key in rows}
    about = {
        "number": 3,
        "differing": notes.differing_note(table, shown),
        "protocol": notes.describe_protocol(table.protocol),
        "sizes": notes.describe_sizes(shown),
        "cautions": [notes.INTERVALS, *notes.caution_notes(shown)],
    }
    segments = {k: row for k, row in rows.items() if k[0] != REFERENCE}
    emotions = {emotion: (direction, emotion) for emotion in EMOTIONS}
    return [
        PrintedTable(
            title="UAR of one emotion against the rest, (recall + specificity)"
            " / 2 in %, of the four-class model, by what LAM-GL aligns.",
            frame=_uar_frame(scores, direction, rows, paper),
            **about,
        ),
        PrintedTable(
            title="LAM-GL on vowels or consonants minus LAM-GL on the whole "
            "utterance: difference of the one-vs-rest UARs in points.",
            frame=make_frame(_differences(scores), segments, emotions),
            notes=[
                f"{notes.UNCORRECTED} p, two-sided, Holm-corrected over the "
                "emotions and the segments of one encoder and direction."
            ],
            is_main=False,
            **about,
        ),
    ]


def _uar_frame(
    scores: EmotionScores,
    direction: str,
    rows: Mapping[Key, tuple[str, str]],
    paper: bool,
) -> pd.DataFrame:
    cells, columns = {}, {}
    for emotion in EMOTIONS:
        columns[emotion] = direction, emotion
        here = {k: scores.get((*k, emotion)) for k in rows}
        here = {k: score.estimate for k, score in here.items() if score}
        best = max((e.value for e in here.values()), default=None)
        for key, estimate in here.items():
            text = notes.with_interval(estimate)
            cells[key, emotion] = Cell(text, estimate.value == best, key)
        numbers = {key: paper_emotion_uar(*key, emotion) for key in rows}
        if paper and any(numbers.values()):
            columns[emotion, PAPER] = direction, PAPER
            for key, number in numbers.items():
                text = f"{number:.2f}" if number else ""
                cells[key, (emotion, PAPER)] = Cell(text)
    return make_frame(cells, rows, columns)


def _differences(scores: EmotionScores) -> dict[tuple[Key, str], Cell]:
    return {
        (key[:2], key[2]): Cell(
            notes.with_p(score.comparison.estimate, score.p_holm), score=key[:2]
        )
        for key, score in scores.items()
        if score.comparison
    }
