"""One emotion against the rest: Table 3's UAR of a four-class model."""

from __future__ import annotations

import math
from typing import NamedTuple

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import REFERENCE, SEGMENTS, Column, Table
from lam_sb.evaluation.statistics import (
    Comparison,
    Estimate,
    Predictions,
    compare,
    holm,
    interval,
)


class EmotionScore(NamedTuple):
    """One emotion against the rest, of one system in one column.

    Arguments
    ---------
    estimate : Estimate
        (recall + specificity) / 2 of the mean over seeds, with its interval.
    comparison : Comparison | None
        LAM-GL on this segment minus LAM-GL on the utterance; None of the
        latter.
    p_holm : float
        Two-sided, corrected over the emotions and segments of the column;
        nan where there is no test.
    """

    estimate: Estimate
    comparison: Comparison | None
    p_holm: float


def emotion_scores(table: Table) -> dict[tuple[str, Column, str], EmotionScore]:
    """Score each emotion where LAM-GL aligns utterances and segments.

    Arguments
    ---------
    table : Table
        Columns without LAM-GL, or without any of `SEGMENTS`, are left out.

    Returns
    -------
    dict[tuple[str, Column, str], EmotionScore]
        By system, column and emotion; none of an emotion that no test row
        has, or that all have.
    """
    scores = {}
    for column in table.columns:
        cells = {
            system: table.cells[system, column].predictions
            for system in (REFERENCE, *SEGMENTS)
            if (system, column) in table.cells
        }
        if REFERENCE in cells and len(cells) > 1:
            for (system, emotion), score in _column_scores(cells).items():
                scores[system, column, emotion] = score
    return scores


def _column_scores(
    cells: dict[str, Predictions],
) -> dict[tuple[str, str], EmotionScore]:
    """Score by system and emotion, and compare with LAM-GL."""
    parts = {
        (system, emotion): against_the_rest(predictions, n)
        for system, predictions in cells.items()
        for n, emotion in enumerate(EMOTIONS)
        if len(set(predictions.labels == n)) == 2
    }
    comparisons = {}
    for (system, emotion), part in parts.items():
        whole = parts.get((REFERENCE, emotion))
        if system != REFERENCE and whole is not None:
            comparisons[system, emotion] = compare(part, whole)
    p_values = holm([c.p_two_sided for c in comparisons.values()])
    p_holm = dict(zip(comparisons, p_values.tolist(), strict=True))
    return {
        key: EmotionScore(
            interval(part), comparisons.get(key), p_holm.get(key, math.nan)
        )
        for key, part in parts.items()
    }


def against_the_rest(predictions: Predictions, emotion: int) -> Predictions:
    """Ask of each row only whether it is of one emotion.

    Arguments
    ---------
    predictions : Predictions
        (S, N) of a system.
    emotion : int
        Its class.

    Returns
    -------
    Predictions
        (S, N), class 1 for the emotion and 0 for the rest, whose UAR is
        (recall + specificity) / 2.
    """
    return Predictions(
        predictions.ids,
        (predictions.labels == emotion).astype(int),
        predictions.clusters,
        (predictions.predictions == emotion).astype(int),
    )
