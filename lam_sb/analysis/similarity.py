"""Similarity of two corpora by layer, with intervals and references."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lam_sb.analysis.measures import (
    MEAN_MEASURES,
    check_measure,
    compare_covariances,
    compare_means,
    mean_vectors,
    pooled,
    similarity,
)
from lam_sb.analysis.sums import CorpusSums, SegmentSums
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.corpora.phones import VOWELS
from lam_sb.evaluation.metrics import mean_defined
from lam_sb.evaluation.statistics import jackknife, join_variances
from lam_sb.files import write_csv

SEGMENTS = ("utterance", "vowels", "consonants", *VOWELS)
ALL = "all"
COLUMNS = {  # of similarity.csv
    **{"layer": int, "emotion": str, "segment": str, "measure": str},
    **{"value": float, "low": float, "high": float},
    **{"n_source": int, "n_target": int},
}
HALVINGS = 20  # of the speaker groups
TOP_DIMENSIONS = 3
CONFIDENCE = 0.95


def similarity_rows(
    source: CorpusSums, target: CorpusSums, measures: Sequence[str]
) -> list[dict]:
    """Similarity of two corpora by segment, measure, emotion and layer.

    All but the covariances have 95 % intervals, and references:
    ``:within_source`` and ``:within_target`` between halves of one corpus's
    speaker groups (the ceiling; the mean of 20 splits), ``:mismatched`` between
    a source emotion and the target's others, and ``:without_top3`` (not for
    pairwise) without the three dimensions that hold the most of the squared
    pooled centroids.

    Arguments
    ---------
    source, target : CorpusSums
        Of the same encoder.
    measures : Sequence[str]
        Some of `lam_sb.analysis.measures.MEASURES`.

    Returns
    -------
    list[dict]
        With the keys `COLUMNS`. Layers count from 1; ``low`` and ``high`` are
        None without an interval; ``n_source`` and ``n_target`` are the rows
        of that emotion and segment in each corpus, whatever the measure. What
        is not defined has no row: an emotion without rows, ``centred`` or
        ``:mismatched`` of ``all``, halves of one group.

    Raises
    ------
    UserError
        An unknown measure, or ``centred`` for a corpus without labels.
    """
    for measure in measures:
        check_measure(source, target, measure)
    rows = []
    for segment in SEGMENTS:
        if segment not in source.segments or segment not in target.segments:
            continue
        s, t = source.segments[segment], target.segments[segment]
        counts = np.stack([pooled(part.counts)[0] for part in (s, t)])
        for measure in measures:
            if measure in MEAN_MEASURES:
                curves = _with_references(s, t, measure)
            elif segment == "utterance":
                curve = compare_covariances(measure, source, target)
                curves = {measure: (curve,)}
            else:
                curves = {}
            for name, limits in curves.items():
                rows += _rows(segment, name, limits, counts)
    return rows


def write_similarity(path: Path, rows: Sequence[Mapping]) -> None:
    """Write similarity.csv: numbers with six digits, None as an empty cell."""
    lines = (
        {k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    )
    write_csv(path, COLUMNS, lines)


def read_similarity(path: Path) -> list[dict]:
    """Read what `write_similarity` wrote."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {k: COLUMNS[k](v) if v else None for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def _rows(
    segment: str,
    measure: str,
    curves: Sequence[np.ndarray],
    counts: np.ndarray,
) -> Iterator[dict]:
    """Rows of (5, L) values, and lows and highs if there are any."""
    for e, emotion in enumerate((*EMOTIONS, ALL)):
        for layer in range(curves[0].shape[1]):
            numbers = [
                None if np.isnan(curve[e, layer]) else float(curve[e, layer])
                for curve in curves
            ]
            value, low, high = (*numbers, None, None)[:3]
            if value is not None:
                yield {
                    "layer": layer + 1,
                    "emotion": emotion,
                    "segment": segment,
                    "measure": measure,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n_source": int(counts[0, e]),
                    "n_target": int(counts[1, e]),
                }


def _with_references(
    source: SegmentSums, target: SegmentSums, measure: str
) -> dict[str, tuple[np.ndarray, ...]]:
    """Curves (5, L) of a measure and its references, by name.

    The measure itself comes with its low and high.
    """
    s, t = mean_vectors(source, measure), mean_vectors(target, measure)
    value = similarity(measure, s, t)[0]
    curves = {
        measure: (value, *_interval(source, target, measure, value)),
        f"{measure}:within_source": (_within(source, measure),),
        f"{measure}:within_target": (_within(target, measure),),
        f"{measure}:mismatched": (_mismatched(measure, s[0], t[0]),),
    }
    if measure != "pairwise":
        kept = _without_top(source, target)
        without = similarity(measure, s[0] * kept, t[0] * kept)
        curves[f"{measure}:without_top3"] = (without,)
    return curves


def _interval(
    source: SegmentSums, target: SegmentSums, measure: str, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high (5, L), nan with fewer than two groups in a corpus.

    SE^2 is the sum of both corpora's delete-one-group jackknives.
    """
    terms = []
    for part, other in ((source, target), (target, source)):
        deleting = 1 - np.eye(len(part.counts))
        deleted = compare_means(measure, part, other, deleting)
        counting = _groups_that_count(part, measure)[..., None]
        terms.append(jackknife(deleted, counting))
    _, _, margin = join_variances(terms, CONFIDENCE)
    return np.clip(value - margin, -1, 1), np.clip(value + margin, -1, 1)


def _groups_that_count(part: SegmentSums, measure: str) -> np.ndarray:
    """Say which groups (G, 5) bear on each emotion and all."""
    counts = part.counts.copy()
    counts[:, -1] = counts.sum(axis=1)
    if measure == "centred":  # through the corpus's mean all of them do
        counts[:] = counts[:, -1:]
    return counts > 0


def _within(part: SegmentSums, measure: str) -> np.ndarray:
    """Compare halves of one corpus: (5, L).

    Each half is a corpus of its own, with its own mean for ``centred``.
    """
    num_groups = len(part.counts)
    first = np.arange(num_groups) < num_groups // 2
    generator = np.random.default_rng(0)
    halves = np.stack([generator.permutation(first) for _ in range(HALVINGS)])
    a, b = halves.astype(float), (~halves).astype(float)
    return mean_defined(compare_means(measure, part, part, a, b), axis=0)


def _mismatched(measure: str, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Compare each emotion with the other three: (5, L), nan for all."""
    pairs = similarity(measure, s[:, None], t[None])
    pairs[np.diag_indices(len(s))] = np.nan
    pairs[-1], pairs[:, -1] = np.nan, np.nan
    return mean_defined(pairs, axis=1)


def _without_top(source: SegmentSums, target: SegmentSums) -> np.ndarray:
    """Mask (L, D) of all but each layer's three strongest dimensions."""
    centroids = [mean_vectors(p, "centroid")[0, -1] for p in (source, target)]
    order = np.argsort(-np.square(centroids).sum(axis=0), axis=1, kind="stable")
    kept = np.ones(order.shape)
    np.put_along_axis(kept, order[:, :TOP_DIMENSIONS], 0, axis=1)
    return kept
