"""Ranking layers by the similarity of two corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lam_sb.analysis.measures import (
    COVARIANCE_MEASURES,
    MEAN_MEASURES,
    check_labels,
    check_measure,
    compare_covariances,
    compare_means,
    pooled,
)
from lam_sb.analysis.sums import CorpusSums
from lam_sb.errors import UserError
from lam_sb.evaluation.metrics import mean_defined

TOP_LAYERS = 3


def select_layers(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    use_target_labels: bool,
    segment: str = "utterance",
    resamples: int = 200,
    seed: int = 0,
) -> dict:
    """Rank the layers by the similarity of whole utterances, or of phones.

    Arguments
    ---------
    source, target : CorpusSums
        Of the same encoder.
    measure : str
        One of `lam_sb.analysis.measures.MEASURES`.
    use_target_labels : bool
        True averages the measure over the emotions that both corpora have, as
        the paper does; False takes all rows at once and needs no label.
    segment : str
        utterance, vowels or consonants: what will be aligned.
    resamples, seed : int
        Bootstrap resamples of the speaker groups of both corpora.

    Returns
    -------
    dict
        ``group`` (the three most similar layers), ``best`` (the first of
        them) and ``worst`` (the three least similar), ties to the lower
        layer; ``scores`` by layer; ``stability``: the share of resamples with
        the same group, best and worst, and by layer the share with it in the
        group; None for covariances, and with fewer than two speaker groups.
        Also ``measure``, ``use_target_labels``, the rows ``n_source`` and
        ``n_target``, and the speaker groups ``groups_source`` and
        ``groups_target``. JSON can hold it.

    Raises
    ------
    UserError
        An unknown measure, labels that are needed but missing, layers whose
        similarity is not defined, or a segment that a corpus does not have or
        the measure does not know.
    """
    check_measure(source, target, measure)
    _check_segment(source, target, measure, segment)
    _check_labels_used(source, target, measure, use_target_labels)
    emotions = slice(4) if use_target_labels else slice(4, 5)
    scores = _scores(source, target, measure, emotions, segment)
    if np.isnan(scores).any():
        raise UserError(
            f"similarity: {measure} is not defined for all layers: the two "
            "corpora share too few rows or emotions."
        )
    ranked = rank_layers(scores)
    stability = None
    groups = source.num_groups, target.num_groups
    if measure in MEAN_MEASURES and min(groups) > 1:
        weights = _resample(groups, resamples, seed)
        again = _scores(source, target, measure, emotions, segment, weights)
        stability = _stability(ranked, again)
    parts = (c.segments[segment] for c in (source, target))
    used = [pooled(part.counts)[0, emotions] for part in parts]
    return {
        "measure": measure,
        "use_target_labels": use_target_labels,
        **{rule: layers[0].tolist() for rule, layers in ranked.items()},
        "scores": _by_layer(scores[0]),
        "stability": stability,
        "n_source": int(used[0].sum()),
        "n_target": int(used[1].sum()),
        "groups_source": groups[0],
        "groups_target": groups[1],
    }


def rank_layers(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Layers (R, n) of group, best and worst, by scores (R, L)."""
    down = np.argsort(-scores, axis=1, kind="stable") + 1
    up = np.argsort(scores, axis=1, kind="stable") + 1
    return {
        "group": np.sort(down[:, :TOP_LAYERS]),
        "best": down[:, :1],
        "worst": np.sort(up[:, :TOP_LAYERS]),
    }


def _check_segment(
    source: CorpusSums, target: CorpusSums, measure: str, segment: str
) -> None:
    if segment == "utterance":
        return
    if measure in COVARIANCE_MEASURES:
        raise UserError(
            f"similarity: {measure} compares whole utterances; use another "
            f"measure for segment: {segment}."
        )
    if not source.segments.keys() & target.segments.keys() & {segment}:
        raise UserError(f"segment: both corpora need {segment}, so alignments.")


def _check_labels_used(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    use_target_labels: bool,
) -> None:
    if use_target_labels:
        check_labels(source, target, "use_target_labels: true")
    elif measure == "centred":
        raise UserError(
            "similarity: centred compares emotions, which needs "
            "use_target_labels: true; use another measure without labels."
        )


def _scores(
    source: CorpusSums,
    target: CorpusSums,
    measure: str,
    emotions: slice,
    segment: str,
    weights: Sequence[np.ndarray | None] = (None, None),
) -> np.ndarray:
    """Mean similarity over emotions, (R, L) under R weightings."""
    if measure in COVARIANCE_MEASURES:
        curves = compare_covariances(measure, source, target)[None]
    else:
        parts = source.segments[segment], target.segments[segment]
        curves = compare_means(measure, *parts, *weights)
    return mean_defined(curves[:, emotions], axis=1)


def _resample(
    groups: Sequence[int], resamples: int, seed: int
) -> list[np.ndarray]:
    """Draw how often each group counts: (R, G) for each corpus."""
    generator = np.random.default_rng(seed)
    return [
        generator.multinomial(n, np.full(n, 1 / n), resamples).astype(float)
        for n in groups
    ]


def _stability(ranked: Mapping[str, np.ndarray], scores: np.ndarray) -> dict:
    """Shares of the resamples (R, L) that agree with what was selected.

    Those without any emotion that both corpora have are left out.
    """
    scores = scores[~np.isnan(scores).any(axis=1)]
    again = rank_layers(scores)
    shares = {
        rule: float((again[rule] == layers).all(axis=1).mean())
        for rule, layers in ranked.items()
    }
    layers = np.arange(1, scores.shape[1] + 1)
    in_group = (again["group"][..., None] == layers).any(axis=1)
    return {**shares, "layers": _by_layer(in_group.mean(axis=0))}


def _by_layer(values: np.ndarray) -> dict[str, float]:
    return {str(n): float(v) for n, v in enumerate(values, start=1)}
