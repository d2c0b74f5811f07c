"""One emotion against the rest: Table 3's UAR of a four-class model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import REFERENCE, SEGMENTS
from lam_sb.evaluation.comparisons import Column, ScoreTable
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.statistics import (
    Comparison,
    Estimate,
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


# By system, column and emotion.
EmotionScores = dict[tuple[str, Column, str], EmotionScore]


def emotion_scores(table: ScoreTable) -> EmotionScores:
    """Score each emotion where LAM-GL aligns utterances and segments.

    Arguments
    ---------
    table : ScoreTable
        Columns without LAM-GL, or without any of `SEGMENTS`, are left out.

    Returns
    -------
    EmotionScores
        By system, column and emotion; none of an emotion that no test row
        has, or that all have.
    """
    scores = {}
    for column in table.columns:
        predictions = {
            system: table.scores[system, column].predictions
            for system in (REFERENCE, *SEGMENTS)
            if (system, column) in table.scores
        }
        if REFERENCE in predictions and len(predictions) > 1:
            alike = {
                s for s in predictions if (s, column) not in table.differing
            }
            found = _of_column(predictions, alike)
            for (system, emotion), score in found.items():
                scores[system, column, emotion] = score
    return scores


def _of_column(
    predictions: Mapping[str, Predictions], alike: Collection[str]
) -> dict[tuple[str, str], EmotionScore]:
    """Score by system and emotion, and compare with LAM-GL.

    Systems that are not alike but for their segment are not tested.
    """
    detections = {
        (system, emotion): _detection(whole, n)
        for system, whole in predictions.items()
        for n, emotion in enumerate(EMOTIONS)
        if len(set(whole.labels == n)) == 2
    }
    comparisons = {}
    for (system, emotion), detection in detections.items():
        reference = detections.get((REFERENCE, emotion))
        if system != REFERENCE and reference is not None:
            comparisons[system, emotion] = compare(detection, reference)
    tested = {k: c.p_two_sided for k, c in comparisons.items() if k[0] in alike}
    p_values = holm([*tested.values()])
    p_holm = dict(zip(tested, p_values.tolist(), strict=True))
    return {
        key: EmotionScore(
            interval(detection), comparisons.get(key), p_holm.get(key, math.nan)
        )
        for key, detection in detections.items()
    }


def _detection(predictions: Predictions, emotion: int) -> Predictions:
    """Whether each row is of one emotion, 1, or not, 0."""
    return Predictions(
        predictions.ids,
        (predictions.labels == emotion).astype(int),
        predictions.clusters,
        (predictions.predictions == emotion).astype(int),
    )
